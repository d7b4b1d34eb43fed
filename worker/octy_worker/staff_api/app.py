"""The staff API as a Starlette app: one route for each endpoint, errors as JSON, security headers."""

import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from octy_middleware.errors import DatabaseUnavailableError, OctyError
from octy_worker.access.sessions import ActiveSession, SessionEndedError, SessionKind
from octy_worker.errors import CommandError
from octy_worker.staff.json_values import from_json, to_json
from octy_worker.staff_api.access import Caller, StaffOffice, bearer_token
from octy_worker.staff_api.attempts import RefusedLoginError
from octy_worker.staff_api.endpoints import Endpoint, all_endpoints
from octy_worker.staff_api.login_limits import TooManyLoginsError
from octy_worker.staff_api.openapi import describe
from octy_worker.staff_api.wire import PREFIX, SESSION_ENDED, WireError, describe_error

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}
_RETRY_AFTER = 30  # seconds

_log = logging.getLogger(__name__)


def build_staff_api(office: StaffOffice, more_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the app. The caller closes the database of `office`. `more_routes`: pages, each with its own checks."""
    endpoints = all_endpoints()
    own = [Route(PREFIX + one.path, serve_endpoint(office, one), methods=[one.method]) for one in endpoints]
    app = Starlette(
        routes=[
            *own,
            Route(f"{PREFIX}/openapi.json", _serve_description(office, endpoints), methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
            *more_routes,
        ],
        middleware=[Middleware(_ApiHeaders, is_https=office.server.startswith("https:"))],
        exception_handlers=_EXCEPTION_HANDLERS,
    )
    app.router.redirect_slashes = False  # its redirect would use the Host header
    return app


async def _healthz(_request: Request) -> Response:
    """Return 200: this process serves."""
    return JSONResponse({"status": "ok"})


def serve_endpoint(office: StaffOffice, endpoint: Endpoint[Any, Any]) -> Callable[[Request], Awaitable[Response]]:
    """Return what serves an endpoint: session and role are checked before the body is read."""

    async def serve(request: Request) -> Response:
        caller = await _find_caller(office, endpoint, request)
        try:
            given = from_json(endpoint.input, await _read_json(request, endpoint))
        except ValidationError as error:
            return _error(400, WireError("usage", _describe_input(error)))
        result = await run_in_threadpool(endpoint.handle, office, caller, given)
        return JSONResponse(to_json(endpoint.output, result))

    return serve


def _serve_description(
    office: StaffOffice, endpoints: Sequence[Endpoint[Any, Any]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return what serves the description. It is made for the first request, since it doubled the time of a start."""
    description = cache(lambda: describe(endpoints, office.server))

    async def serve(request: Request) -> Response:
        await _find_session(office, request)
        return JSONResponse(await run_in_threadpool(description))

    return serve


async def _find_caller(office: StaffOffice, endpoint: Endpoint[Any, Any], request: Request) -> Caller:
    """Return who calls, before anything of the body is read. Raises SessionEndedError, or HTTPException 403."""
    source = office.source_of(request)
    if endpoint.role is None:
        return Caller(source)
    session = await _find_session(office, request)
    if not session.role.includes(endpoint.role):
        raise HTTPException(403, f"{session.handle} is {session.role}, and this needs {endpoint.role}")
    return Caller(source, session)


async def _find_session(office: StaffOffice, request: Request) -> ActiveSession:
    token, source = bearer_token(request), office.source_of(request)
    return await run_in_threadpool(office.find_session, token, source, SessionKind.CLI)


async def _read_json(request: Request, endpoint: Endpoint[Any, Any]) -> Any:
    """Return the body of a POST. Raises HTTPException for one that is too large or no JSON."""
    if endpoint.method == "GET":
        return {}
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > endpoint.max_body:
            raise HTTPException(413, f"the body has more than {endpoint.max_body} bytes", {"Connection": "close"})
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None


def _describe_input(error: ValidationError) -> str:
    """Say which fields are wrong, without their values."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in faults[:5])


def _error(status: int, error: WireError, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(error.body(), status, headers)


async def _refuse_protocol(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "refused" if error.status_code == 403 else "usage"  # noqa: PLR2004
    return _error(error.status_code, WireError(kind, error.detail), error.headers)


async def _refuse_session(_request: Request, error: Exception) -> Response:
    return _error(401, WireError(SESSION_ENDED, f"{error} → `octy login`"), {"WWW-Authenticate": "Bearer"})


async def _refuse_login(_request: Request, error: Exception) -> Response:
    return _error(403, WireError("refused", str(error)))


async def _limit_logins(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TooManyLoginsError)
    return _error(429, WireError("unavailable", str(error)), {"Retry-After": str(int(error.wait) + 1)})


async def _fail_command(_request: Request, error: Exception) -> Response:
    assert isinstance(error, CommandError)
    return _error(*describe_error(error))


async def _fail_setup(_request: Request, error: Exception) -> Response:
    """Answer an error of configuration, schema or input, whose text is for people."""
    return _error(400, WireError("usage", str(error)))


async def _fail_database(_request: Request, error: Exception) -> Response:
    _log.warning("request not served, database unavailable: %s", error)
    return _error(503, WireError("unavailable", str(error)), {"Retry-After": str(_RETRY_AFTER)})


async def _disconnected(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


_EXCEPTION_HANDLERS: Mapping[Any, ExceptionHandler] = {
    HTTPException: _refuse_protocol,
    SessionEndedError: _refuse_session,
    RefusedLoginError: _refuse_login,
    TooManyLoginsError: _limit_logins,
    CommandError: _fail_command,
    DatabaseUnavailableError: _fail_database,
    OctyError: _fail_setup,
    ClientDisconnect: _disconnected,
}


class _ApiHeaders:
    """Sets security headers on each response, and answers an unexpected exception without its text.

    The text of a third-party exception may contain values; the log gets its type and traceback only. The server sends
    HTTP requests only.
    """

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        self._headers = {**_HEADERS, **(_HSTS if is_https else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)  # a page has a policy of its own
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the last handler
            frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
            _log.error("request failed: %s\n%s", type(error).__name__, frames)  # without its text
            if started:
                raise ConnectionAbortedError("the response had already started") from None
            answer = _error(500, WireError("failed", "the request failed → see the log of the staff API"))
            await answer(scope, receive, send_with_headers)
