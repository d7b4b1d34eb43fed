"""Requests over real sockets, to the servers that people run.

Some servers read line ends in a header as another header; those cases have names in the conformance suite.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from support.world import World

from proofs.conformance import raw_http
from proofs.conformance.raw_http import ConnectionClosed, NotHttp, RawConnection
from proofs.conformance.servers import SERVERS, RunningServer
from proofs.fuzz.adapters import Response
from proofs.fuzz.installation import environment
from proofs.fuzz.request import PROXY, FuzzRequest

_ASGI, _WSGI = ("proofs.fuzz.adapters:make_asgi", "--factory"), ("proofs.fuzz.adapters:make_wsgi()",)
_APPS = {"uvicorn-h11": _ASGI, "uvicorn-httptools": _ASGI, "gunicorn-sync": _WSGI}
NAMES = tuple(_APPS)
_METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")
_PATH_CHARACTERS = frozenset("/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_PRINTABLE = frozenset(b"\t" + bytes(range(32, 127)))
_HEADER_LIMIT = 8000  # bytes that every server takes
_IDLE_TIMEOUT = 1.0  # seconds; servers close idle connections after two at the least
_REFUSALS = (400, 414, 431)
_OWN_HEADERS = (b"date", b"server", b"connection")


class ServerClient:
    """A connection to one server."""

    def __init__(self, name: str, connection: RawConnection) -> None:
        self._is_wsgi = _APPS[name] is _WSGI
        self._connection = connection
        self._used_at = time.monotonic()

    def send(self, request: FuzzRequest) -> tuple[FuzzRequest, Response | None]:
        """Return the request as the adapter reads it, and the response; None if the server itself refused it."""
        sent = _as_sent(request)
        if time.monotonic() - self._used_at > _IDLE_TIMEOUT:
            self._connection.reconnect()
        self._used_at = time.monotonic()
        self._connection.send(_to_bytes(sent))
        try:
            found = self._connection.read_response(head=sent.method == "HEAD")
        except (ConnectionClosed, NotHttp):
            self._connection.reconnect()
            return sent, None
        if found.status in _REFUSALS or found.fields.get("connection") == "close":
            self._connection.reconnect()
        return sent.as_wsgi() if self._is_wsgi else sent, _response_of_app(found)


def can_carry(request: FuzzRequest) -> bool:
    """Whether the request is for the setup of the servers, and its Authorization one header to each of them."""
    return request.setup == 0 and not any(end in value for value in request.values for end in (b"\r", b"\n"))


def may_be_refused(request: FuzzRequest) -> bool:
    """Whether a server may refuse the request before the middleware sees it."""
    texts = [value for _, value in request.all_headers]
    return not _PRINTABLE.issuperset(b"".join(texts)) or max(map(len, texts), default=0) > _HEADER_LIMIT


@contextmanager
def serve(world: World, folder: Path, names: tuple[str, ...]) -> Iterator[dict[str, ServerClient]]:
    """Start the named servers over the installation and connect to each."""
    with ExitStack() as stack:
        clients = {}
        for server in (server for server in SERVERS if server.name in names):
            app, *options = _APPS[server.name]
            (folder / server.name).mkdir()
            running = RunningServer(server, app, folder / server.name, environment(world), *options)
            stack.callback(running.stop)
            running.wait()
            clients[server.name] = ServerClient(server.name, stack.enter_context(RawConnection(running.port)))
        yield clients


def _as_sent(request: FuzzRequest) -> FuzzRequest:
    """Return the request as it can go over a socket from this host, without white space around values."""
    path, headers = request.path, request.headers
    if not path.startswith("/") or path.startswith("//") or not _PATH_CHARACTERS.issuperset(path):
        path = "/v1/things"
    return replace(
        request,
        values=tuple(value.strip(b" \t") for value in request.values),
        peer=PROXY,
        scheme="http",
        method=request.method if request.method in _METHODS else "GET",
        path=path,
        headers=tuple((name, value.strip(b" \t")) for name, value in headers if not {10, 13} & set(value)),
    )


def _to_bytes(sent: FuzzRequest) -> bytes:
    lines = [f"{sent.method} {sent.path} HTTP/1.1".encode(), b"host: api.example"]
    if sent.method in ("POST", "PUT"):
        lines.append(b"content-length: 0")
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in sent.all_headers), b"", b""])


def _response_of_app(found: raw_http.Response) -> Response | None:
    """Return what the middleware or the app behind it responded; None for the server's own refusal."""
    if found.status in _REFUSALS and "cache-control" not in found.fields:
        return None
    headers = ((name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers)
    return Response(
        found.status, tuple(pair for pair in headers if pair[0] not in _OWN_HEADERS), found.body, found.head
    )
