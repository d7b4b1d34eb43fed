"""Quart, wrapped as its documentation wraps middleware."""

from typing import Any

from quart import Quart, Response, request

from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import JSON, OPEN, account, asgi_app_by_host


async def who() -> Response:
    return Response(account(request.scope["user"].display_name), mimetype=JSON)  # type: ignore[typeddict-item]


async def anybody() -> Response:
    return Response(OPEN, mimetype=JSON)


def build(**options: Any) -> Any:
    app = Quart(__name__)
    app.add_url_rule("/who", "who", who, methods=["GET", "POST"])
    app.add_url_rule("/open", "open", anybody)
    app.asgi_app = OctyASGIMiddleware(app.asgi_app, **options)  # type: ignore[method-assign]
    return app


app = asgi_app_by_host(build)
