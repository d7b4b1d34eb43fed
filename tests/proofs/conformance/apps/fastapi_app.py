"""FastAPI, mounted by FastAPI itself."""

from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response, WebSocket

from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import JSON, MOUNT, OPEN, account, asgi_app_by_host, asgi_mounted, length


async def who(request: Request) -> Response:
    return Response(account(request.user.display_name), media_type=JSON)


def anybody() -> Response:
    return Response(OPEN, media_type=JSON)


async def upload(body: Annotated[bytes, Body()] = b"") -> Response:
    return Response(length(body), media_type=JSON)


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.display_name)
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


def build(**options: Any) -> Any:
    app = FastAPI(openapi_url=None)
    app.add_middleware(OctyASGIMiddleware, **options)
    app.add_api_route("/who", who, methods=["GET", "HEAD", "POST"])
    app.add_api_route("/open", anybody, methods=["GET", "HEAD", "OPTIONS"])
    app.add_api_route("/upload", upload, methods=["POST"])
    app.add_api_websocket_route("/ws", talk)
    outer = FastAPI(openapi_url=None)
    outer.mount(MOUNT, app)
    return asgi_mounted(app, outer)


app = asgi_app_by_host(build)
