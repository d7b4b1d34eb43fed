"""Falcon behind its ASGI adapter. It routes by the whole path, so the mounted routes are named in full."""

from typing import Any

import falcon.asgi

from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import JSON, MOUNT, OPEN, account, asgi_app_by_host, asgi_mounted, length


class Who:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.data, resp.content_type = account(req.scope["user"].display_name), JSON

    on_head = on_post = on_get


class Open:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.data, resp.content_type = OPEN, JSON

    on_head = on_options = on_get


class Upload:
    async def on_post(self, req: Any, resp: Any) -> None:
        resp.data, resp.content_type = length(await req.stream.read()), JSON


class Talk:
    async def on_websocket(self, req: Any, ws: Any) -> None:
        await ws.accept()
        await ws.send_text(req.scope["user"].display_name)
        await ws.send_text(await ws.receive_text())
        await ws.close()


def build(**options: Any) -> Any:
    app = falcon.asgi.App()
    for path, resource in {"/who": Who(), "/open": Open(), "/upload": Upload(), "/ws": Talk()}.items():
        app.add_route(path, resource)
        app.add_route(MOUNT + path, resource)
    return asgi_mounted(OctyASGIMiddleware(app, **options))


app = asgi_app_by_host(build)
