"""A Starlette API behind Octy keys: `uvicorn --http h11 --no-proxy-headers starlette_app:app`; keys: `octy secrets`."""

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from octy_middleware import Accounts, Database, InvalidInputError, OctyASGIMiddleware, Settings, StoreUnavailableError
from octy_middleware.envelope import fault, success

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))


def authenticate(request: Request) -> JSONResponse:
    return JSONResponse(success(f"Hello, {request.user.display_name}."))


def read_account(request: Request) -> JSONResponse:
    return JSONResponse(success("Account configurations.", account_data=accounts.contact(request.user.identity)))


async def set_account(request: Request) -> JSONResponse:
    data = await run_in_threadpool(accounts.change_contact, request.user.identity, await request.json())
    return JSONResponse(success("Account configurations were set.", account_data=data))


def versioning(_request: Request) -> JSONResponse:
    return JSONResponse(success("Versions.", versions={"cli": "1.0.0"}))


def refuse(_request: Request, error: Exception) -> JSONResponse:
    body, status, headers = fault(error, getattr(error, "status_code", None))
    return JSONResponse(body, status, {**headers, **(getattr(error, "headers", None) or {})})


kinds = (HTTPException, InvalidInputError, StoreUnavailableError, ValueError, RecursionError)
routes = [
    Route("/v1/account/authenticate", authenticate),
    Route("/v1/configurations/account", read_account),
    Route("/v1/configurations/account/set", set_account, methods=["POST"]),
    Route("/v1/admin/application/versioning", versioning),
]
octy = Middleware(OctyASGIMiddleware, settings=settings)
app = Starlette(routes=routes, middleware=[octy], exception_handlers=dict.fromkeys(kinds, refuse))
app.router.redirect_slashes = False  # Octy's clients are never redirected
