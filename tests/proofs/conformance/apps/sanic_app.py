"""Sanic as an ASGI app: one for all sites, for it must be started by a lifespan, which only the first site has."""

from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import JSON, OPEN, account, asgi_app_by_host


async def who(request: Request) -> HTTPResponse:
    return HTTPResponse(account(request.transport.scope["user"].display_name), content_type=JSON)


async def anybody(_request: Request) -> HTTPResponse:
    return HTTPResponse(OPEN, content_type=JSON)


_sanic: Any = Sanic("sites", configure_logging=False)
_sanic.add_route(who, "/who", methods=["GET", "POST"])
_sanic.add_route(anybody, "/open", methods=["GET"])


def build(**options: Any) -> Any:
    return OctyASGIMiddleware(_sanic, **options)


app = asgi_app_by_host(build)
