"""Django behind its ASGI adapter. It has no WebSockets of its own: a handler stands beside it, as Channels would."""

from typing import Any

from django.core.asgi import get_asgi_application

import proofs.conformance.apps.django_urls  # noqa: F401 - Django's set-up
from octy_middleware import OctyASGIMiddleware
from proofs.conformance.apps import asgi_app_by_host, asgi_mounted


async def talk(scope: Any, receive: Any, send: Any) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["user"].display_name})
    await send({"type": "websocket.send", "text": (await receive())["text"]})
    await send({"type": "websocket.close"})


def build(**options: Any) -> Any:
    django = get_asgi_application()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await talk(scope, receive, send)
        else:
            await django(scope, receive, send)

    return asgi_mounted(OctyASGIMiddleware(app, **options))


app = asgi_app_by_host(build)
