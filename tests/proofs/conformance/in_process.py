"""The table's requests without a server: bytes → scope or environ → app → the same words as over TCP.

This is a server's work in its plainest form, for the checkers of both specifications.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

from proofs.conformance.cases import STOP, THEN, Case, on_new_connections, on_one_connection
from proofs.conformance.cases.websockets import websocket_echo
from proofs.conformance.raw_http import Response
from proofs.conformance.response_text import describe

PEER = ("127.0.0.1", 50_000)
Ask = Callable[["ParsedRequest"], list[str]]


@dataclass(frozen=True)
class ParsedRequest:
    """A request as a server has read it."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def of(cls, request: bytes) -> "ParsedRequest":
        """Read well-formed bytes."""
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        method, target, _ = line.split(b" ")
        fields = [one.split(b":", 1) for one in lines]
        headers = [(name.lower(), value.strip(b" \t")) for name, value in fields]
        chunked = (b"transfer-encoding", b"chunked") in headers
        return cls(method.decode(), target, headers, _joined(body) if chunked else body)

    @property
    def path(self) -> bytes:
        return unquote_to_bytes(self.target.partition(b"?")[0])

    @property
    def query(self) -> bytes:
        return self.target.partition(b"?")[2]


def _joined(chunks: bytes) -> bytes:
    body = bytearray()
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        if not int(size, 16):
            break
        body += chunks[: int(size, 16)]
        chunks = chunks[int(size, 16) + 2 :]
    return bytes(body)


def runs_in_process(case: Case) -> bool:
    """Return whether a case is about requests, not about connections, framing, or what only a server refuses."""
    ours = case.conversation in (on_one_connection, on_new_connections, websocket_echo)
    if not ours or case.group in ("broken lines", "keep-alive", STOP):
        return False
    method, target = case.request.split(b" ", 2)[:2]
    return target.startswith(b"/") and method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")


def run(case: Case, ask: Ask) -> tuple[str, ...]:
    """Run a case, and return what was answered."""
    return tuple(word for part in case.bytes.split(THEN) for word in ask(ParsedRequest.of(part)))


def asgi(app: Any) -> Ask:
    """Return how an ASGI app is asked."""
    return lambda request: asyncio.run(_ask_asgi(app, request))


async def _ask_asgi(app: Any, request: ParsedRequest) -> list[str]:
    upgrade = (b"upgrade", b"websocket") in request.headers
    scope = {
        "type": "websocket" if upgrade else "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws" if upgrade else "http",
        "path": request.path.decode("utf-8", "replace"),
        "raw_path": request.target.partition(b"?")[0],
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers),
        "client": PEER,
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    if upgrade:
        scope |= {"subprotocols": [], "extensions": {"websocket.http.response": {}}}
    else:
        scope["method"] = request.method
    headers = [header for header in scope["headers"] if header[0] != b"authorization"]
    words = await (_websocket(app, scope) if upgrade else _exchange(app, scope, request.body))
    left = [header for header in scope["headers"] if header[0] != b"authorization"]
    assert left == headers, "a request's headers are the app's, too, but for hidden credentials"
    return words


async def _exchange(app: Any, scope: dict[str, Any], body: bytes) -> list[str]:
    sent: list[Any] = []
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, received.get, send)
    return [_described(sent, head=scope["method"] == "HEAD")]


async def _websocket(app: Any, scope: dict[str, Any]) -> list[str]:
    """Be the client that `cases.websockets.websocket_echo` is."""
    words: list[str] = []
    sent: list[Any] = []
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "websocket.accept":
            words.append("101")
        elif message["type"] == "websocket.send":
            words.append(message["text"])
            if len(words) == 2:
                received.put_nowait({"type": "websocket.receive", "text": "hi"})
        elif message["type"] == "websocket.close":
            words.append("the end")
            received.put_nowait({"type": "websocket.disconnect", "code": 1000})

    await app(scope, received.get, send)
    return words or [_described(sent, head=False)]


def _described(sent: list[Any], *, head: bool) -> str:
    start, *bodies = sent
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return describe_parts(start["status"], headers, b"".join(message.get("body", b"") for message in bodies), head=head)


def describe_parts(status: int, headers: Iterable[tuple[str, str]], body: bytes, *, head: bool) -> str:
    """Return what a response says; a HEAD's body goes nowhere."""
    lower = [(name.lower(), value) for name, value in headers]
    return describe(Response(status, lower, b"" if head else body, b"", head))


def wsgi(app: Any) -> Ask:
    """Return how a WSGI app is asked."""

    def ask(request: ParsedRequest) -> list[str]:
        begun: list[Any] = []
        result = app(_environ(request), lambda status, headers, _fault=None: begun.append((status, headers)) or print)
        try:
            body = b"".join(result)
        finally:
            result.close()
        [(status, headers)] = begun
        return [describe_parts(int(status[:3]), headers, body, head=request.method == "HEAD")]

    return ask


def _environ(request: ParsedRequest) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": PEER[0],
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
    }
    for name, value in request.headers:
        if name in (b"content-length", b"content-type", b"transfer-encoding") or b"_" in name:
            continue
        variable = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        environ[variable] = f"{environ[variable]},{text}" if variable in environ else text
    setup_testing_defaults(environ)  # adds what is missing
    return environ
