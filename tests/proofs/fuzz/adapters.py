"""Requests through the WSGI and the ASGI adapter in this process, over the smallest apps that there are."""

import asyncio
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

from octy_middleware import OctyASGIMiddleware, OctyWSGIMiddleware
from proofs.fuzz.request import FuzzRequest


class Response(NamedTuple):
    """A response as it left the code. `head`: it answers a HEAD request."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    head: bool = False


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    """Respond with the account of the request."""
    start_response("200 OK", [])
    return [environ.get("REMOTE_USER", "").encode()]


async def asgi_app(scope: Any, _receive: Any, send: Any) -> None:
    """Respond with the account of the request."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["user"].display_name.encode()})


def make_wsgi() -> OctyWSGIMiddleware:
    """Return what a WSGI server serves."""
    return OctyWSGIMiddleware(wsgi_app)


def make_asgi() -> OctyASGIMiddleware:
    """Return what an ASGI server serves."""
    return OctyASGIMiddleware(asgi_app)


def send_wsgi(adapter: OctyWSGIMiddleware, request: FuzzRequest) -> Response:
    started: list[Any] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(),
        "REMOTE_USER": "forged",
    }
    if request.peer is not None:
        environ["REMOTE_ADDR"] = request.peer
    for name, value in request.all_headers:
        variable = "HTTP_" + name.decode().upper().replace("-", "_")
        before = f"{environ[variable]}," if variable in environ else ""
        environ[variable] = before + value.decode("latin-1")
    body = b"".join(adapter(environ, lambda *given: started.extend(given)))
    status, headers = started
    pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
    return Response(int(status[:3]), pairs, body, head=request.method == "HEAD")


async def send_asgi(
    adapters: Sequence[OctyASGIMiddleware], requests: Sequence[FuzzRequest]
) -> list[Response | BaseException]:
    """Send each request to the adapter of its setup; those that wait for the database wait together."""
    sent = (_send_asgi(adapters[request.setup], request) for request in requests)
    return await asyncio.gather(*sent, return_exceptions=True)


async def _send_asgi(adapter: OctyASGIMiddleware, request: FuzzRequest) -> Response:
    messages: list[Any] = []
    scope = {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "scheme": request.scheme,
        "client": None if request.peer is None else (request.peer, 4711),
        "headers": request.all_headers,
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await adapter(scope, receive, send)
    start, body = messages
    return Response(start["status"], tuple(start["headers"]), body["body"], head=request.method == "HEAD")
