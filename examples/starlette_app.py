"""A Starlette API behind Octy keys, with Octy's account routes.

OCTY_PEPPERS and OCTY_DATABASE_URL come from the environment (`octy secrets` makes the first). Run it with
`uvicorn starlette_app:app --no-proxy-headers`: the middleware looks at the proxies itself.
"""

import asyncio
import json
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from octy_middleware import (
    Accounts,
    Database,
    InvalidInputError,
    OctyASGIMiddleware,
    Settings,
    StoreUnavailableError,
)
from octy_middleware.envelope import failure, success

BODY_LIMIT = 65_536  # bytes

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))


async def authenticate(request: Request) -> JSONResponse:
    return JSONResponse(success(f"Hello, {request.user.display_name}."))


async def read_account(request: Request) -> JSONResponse:
    data = await asyncio.to_thread(accounts.contact, request.user.identity)
    return JSONResponse(success("Account configurations.", account_data=data))


async def set_account(request: Request) -> JSONResponse:
    try:
        data = await asyncio.to_thread(accounts.change_contact, request.user.identity, await read_json(request))
    except (InvalidInputError, ValueError, RecursionError) as error:  # the last two: what JSON can go wrong with
        return JSONResponse(failure(422, str(error), "Send a JSON object with the account's fields."), status_code=422)
    return JSONResponse(success("Account configurations were set.", account_data=data))


async def read_json(request: Request) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413)
    return json.loads(body)


async def versioning(_request: Request) -> JSONResponse:
    return JSONResponse(success("Versions.", versions={"cli": "1.0.0"}))


async def unavailable(_request: Request, _error: Exception) -> JSONResponse:
    body = failure(503, "The service is unavailable for the moment.", "Nothing was changed. Try again.")
    return JSONResponse(body, status_code=503, headers={"Retry-After": "5"})  # seconds


async def refuse(_request: Request, error: Exception) -> JSONResponse:
    """Answer what Starlette itself refuses, 404 and 405 among it, in the shape that Octy's clients read."""
    assert isinstance(error, HTTPException)
    return JSONResponse(failure(error.status_code, error.detail), status_code=error.status_code, headers=error.headers)


app = Starlette(
    routes=[
        Route("/v1/account/authenticate", authenticate),
        Route("/v1/configurations/account", read_account),
        Route("/v1/configurations/account/set", set_account, methods=["POST"]),
        Route("/v1/admin/application/versioning", versioning),
    ],
    middleware=[Middleware(OctyASGIMiddleware, settings=settings)],
    exception_handlers={HTTPException: refuse, StoreUnavailableError: unavailable},
)
app.router.redirect_slashes = False  # Octy's clients are never redirected
