"""A Starlette API behind Octy keys, with Octy's account routes.

OCTY_PEPPERS and OCTY_DATABASE_URL come from the environment (`octy secrets` makes the first). Run it with
`uvicorn starlette_app:app --no-proxy-headers`: the middleware looks at the proxies itself.
"""

import asyncio
import json

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from octy_middleware import Accounts, Database, InvalidInputError, OctyASGIMiddleware, Settings
from octy_middleware.envelope import failure, success

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))


async def authenticate(request: Request) -> JSONResponse:
    return JSONResponse(success(f"Hello, {request.user.display_name}."))


async def read_account(request: Request) -> JSONResponse:
    data = await asyncio.to_thread(accounts.contact, request.user.identity)
    return JSONResponse(success("Account configurations.", account_data=data))


async def set_account(request: Request) -> JSONResponse:
    try:
        data = await asyncio.to_thread(accounts.change_contact, request.user.identity, await request.json())
    except (InvalidInputError, json.JSONDecodeError, UnicodeDecodeError) as error:
        return JSONResponse(failure(422, str(error), "Send a JSON object with the account's fields."), status_code=422)
    return JSONResponse(success("Account configurations were set.", account_data=data))


async def versioning(_request: Request) -> JSONResponse:
    return JSONResponse(success("Versions.", versions={"cli": "1.0.0"}))


app = Starlette(
    routes=[
        Route("/v1/account/authenticate", authenticate),
        Route("/v1/configurations/account", read_account),
        Route("/v1/configurations/account/set", set_account, methods=["POST"]),
        Route("/v1/admin/application/versioning", versioning),
    ],
    middleware=[Middleware(OctyASGIMiddleware, settings=settings)],
)
