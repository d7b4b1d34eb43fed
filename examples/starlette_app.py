"""A Starlette API behind Octy keys: `uvicorn --http h11 --no-proxy-headers starlette_app:app`; keys: `octy secrets`."""

import json
import os

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from octy_middleware import (
    Accounts,
    Database,
    DatabaseUnavailableError,
    InvalidInputError,
    OctyASGIMiddleware,
    Settings,
)
from octy_middleware.http.error_body import exception_response, success_body

CLI_RELEASE = os.environ.get("EXAMPLE_CLI_RELEASE", "v1.0.0")  # name of the newest release of the command line
MAX_BODY = 65_536  # bytes

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))


def authenticate(request: Request) -> JSONResponse:
    return JSONResponse(success_body(f"Hello, {request.user.display_name}."))


def read_account(request: Request) -> JSONResponse:
    return JSONResponse(success_body("Account configurations.", account_data=accounts.contact(request.user.identity)))


async def set_account(request: Request) -> JSONResponse:
    if "origin" in request.headers:  # a request of a web page; Octy's clients are programs
        raise HTTPException(403)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415)  # a web page can send other types to another origin without a preflight request
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    data = await run_in_threadpool(accounts.change_contact, request.user.identity, json.loads(bytes(body)))
    return JSONResponse(success_body("Account configurations were set.", account_data=data))


def versioning(request: Request) -> JSONResponse:
    """Return the current release; the command line prints a notice if its own has another name."""
    version = {
        "id": "1",
        "release_id": "1",
        "version_tag": CLI_RELEASE,
        "version_name": CLI_RELEASE,
        "version_int": 1,
        "change_log": "",
        "assets": [],
        "published_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }
    kind = request.query_params.get("app", "cli")
    return JSONResponse(success_body("The current version.", application_type=kind, current_version=version))


def handle_error(_request: Request, error: Exception) -> JSONResponse:
    body, status, headers = exception_response(error, getattr(error, "status_code", None))
    return JSONResponse(body, status, {**headers, **(getattr(error, "headers", None) or {})})


error_types = (HTTPException, InvalidInputError, DatabaseUnavailableError, ValueError, RecursionError)
routes = [
    Route("/v1/account/authenticate", authenticate),
    Route("/v1/configurations/account", read_account),
    Route("/v1/configurations/account/set", set_account, methods=["POST"]),
    Route("/v1/admin/application/versioning", versioning),
]
octy = Middleware(OctyASGIMiddleware, settings=settings)
app = Starlette(routes=routes, middleware=[octy], exception_handlers=dict.fromkeys(error_types, handle_error))
app.router.redirect_slashes = False  # Octy's clients are never redirected
