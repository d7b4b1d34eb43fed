"""Litestar, which builds a middleware for each route."""

from typing import Any

from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.middleware import DefineMiddleware

from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import JSON, OPEN, account, asgi_app_by_host


@route("/who", http_method=[HttpMethod.GET, HttpMethod.POST], sync_to_thread=False)
def who(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(account(request.user.display_name), media_type=JSON, status_code=200)


@route("/open", http_method=[HttpMethod.GET], sync_to_thread=False)
def anybody() -> Response[bytes]:
    return Response(OPEN, media_type=JSON)


def build(**options: Any) -> Any:
    middleware = [DefineMiddleware(OctyASGIMiddleware, **options)]
    return Litestar([who, anybody], middleware=middleware, openapi_config=None)


app = asgi_app_by_host(build)
