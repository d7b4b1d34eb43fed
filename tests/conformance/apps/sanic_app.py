"""Sanic as an ASGI app."""

from itertools import count
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from conformance.apps import OPEN, account
from conformance.apps.sites import asgi_sites
from octy_middleware import OctyASGIMiddleware

JSON = "application/json"
_numbers = count()


async def who(request: Request) -> HTTPResponse:
    return HTTPResponse(account(request.transport.scope["user"].display_name), content_type=JSON)


async def anybody(_request: Request) -> HTTPResponse:
    return HTTPResponse(OPEN, content_type=JSON)


def build(**options: Any) -> Any:
    app = Sanic(f"site{next(_numbers)}", configure_logging=False)
    app.add_route(who, "/who", methods=["GET", "POST"])
    app.add_route(anybody, "/open", methods=["GET"])
    return OctyASGIMiddleware(app, **options)


app = asgi_sites(build)
