"""Apps that answer with the id of the process that served the request, at both adapters."""

import os
from typing import Any

from octy_middleware import OctyASGIMiddleware, OctyWSGIMiddleware


async def _asgi_pid(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("http only")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(_pid()))]})
    await send({"type": "http.response.body", "body": _pid()})


def _wsgi_pid(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(len(_pid())))])
    return [_pid()]


def _pid() -> bytes:
    return str(os.getpid()).encode()


asgi = OctyASGIMiddleware(_asgi_pid)
wsgi = OctyWSGIMiddleware(_wsgi_pid)
