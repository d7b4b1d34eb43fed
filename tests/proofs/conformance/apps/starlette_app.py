"""Starlette, with the middleware as the README shows it, mounted by Starlette itself."""

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import JSON, MOUNT, OPEN, account, asgi_app_by_host, asgi_mounted, length


def who(request: Request) -> Response:
    return Response(account(request.user.display_name), media_type=JSON)


def anybody(_request: Request) -> Response:
    return Response(OPEN, media_type=JSON)


async def upload(request: Request) -> Response:
    return Response(length(await request.body()), media_type=JSON)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.user.display_name)
    await socket.send_text(await socket.receive_text())
    await socket.close()


def build(**options: Any) -> Any:
    routes = [
        Route("/who", who, methods=["GET", "POST"]),
        Route("/open", anybody, methods=["GET", "OPTIONS"]),
        Route("/upload", upload, methods=["POST"]),
        WebSocketRoute("/ws", talk),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(OctyASGIMiddleware, **options)])
    return asgi_mounted(app, Starlette(routes=[Mount(MOUNT, app)]))


app = asgi_app_by_host(build)
