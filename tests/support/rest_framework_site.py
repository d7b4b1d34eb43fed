"""Django REST framework with the authentication classes that it has by default, asked in a process of its own.

Here: the site, and a request to it by each adapter. Run as a program it prints what each `Authorization` was answered,
as JSON by adapter.
"""

import asyncio
import io
import json
import sys
from typing import Any

from support.django_site import set_up_django

set_up_django(__name__)

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402

from octy_middleware import OctyASGIMiddleware, OctyWSGIMiddleware  # noqa: E402


@api_view(["GET"])
def who(request: Any) -> Any:
    scope = getattr(request._request, "scope", None)
    user = request.META.get("REMOTE_USER") if scope is None else scope["user"].display_name
    return Response({"user": user})


urlpatterns = [path("who", who)]


def ask_wsgi(authorization: str) -> list[Any]:
    begun: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/who", "SERVER_NAME": "api.example", "SERVER_PORT": "443"}
    more = {"wsgi.url_scheme": "https", "wsgi.input": io.BytesIO(), "HTTP_AUTHORIZATION": authorization}
    adapter = OctyWSGIMiddleware(get_wsgi_application())
    body = b"".join(adapter({**environ, **more, "REMOTE_ADDR": "203.0.113.9"}, lambda status, *_: begun.append(status)))
    adapter.close()
    return [int(begun[0][:3]), json.loads(body)]


def ask_asgi(authorization: str) -> list[Any]:
    sent: list[Any] = []
    headers = [(b"host", b"api.example"), (b"authorization", authorization.encode())]
    scope = {"type": "http", "method": "GET", "path": "/who", "scheme": "https", "headers": headers}

    async def ask() -> None:
        over = asyncio.Event()
        waiting = [{"type": "http.request"}]

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        adapter = OctyASGIMiddleware(get_asgi_application())
        await adapter({**scope, "query_string": b"", "client": ("203.0.113.9", 1)}, receive, send)
        over.set()
        adapter.authenticator.close()

    asyncio.run(ask())
    return [sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in sent[1:]))]


if __name__ == "__main__":
    asks = {"wsgi": ask_wsgi, "asgi": ask_asgi}
    sys.stdout.write(json.dumps({adapter: [asks[adapter](some) for some in sys.argv[1:]] for adapter in asks}))
