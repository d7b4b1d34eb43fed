"""Inputs over real sockets, to the servers that people run.

Here: an input's bytes on the wire, and which of them a server may refuse by itself. Line ends in a header are another
header to some servers; those cases have names in the conformance suite. Not here: what is right (`checks`).
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from support.world import World

from proofs.conformance.raw_http import ConnectionClosed, NotHttp, RawConnection, Response
from proofs.conformance.servers import SERVERS, RunningServer
from proofs.fuzz.answers import Answered
from proofs.fuzz.installation import environment
from proofs.fuzz.lanes import Input, joined
from proofs.fuzz.surroundings import PROXY

_APPS = {
    "uvicorn-h11": ("proofs.fuzz.served:asgi", "--factory"),
    "uvicorn-httptools": ("proofs.fuzz.served:asgi", "--factory"),
    "gunicorn-sync": ("proofs.fuzz.served:wsgi()",),
}
LANES = tuple(_APPS)
REFUSED = "refused by the server"
_METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")
_PATH = frozenset("/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_PRINTABLE = frozenset(b"\t" + bytes(range(32, 127)))
_MOST = 8000  # bytes of a header that every server takes
_IDLE = 1.0  # seconds; servers hang up after two at the least
_REFUSALS = (400, 414, 431)
_OWN = (b"date", b"server", b"connection")


class Sockets:
    """One connection to each server. `turns`: of a thousand inputs, those that come here."""

    def __init__(self, wires: dict[str, RawConnection], turns: tuple[int, ...]) -> None:
        self._wires = wires
        self._next = cycle(wires)
        self._used = dict.fromkeys(wires, time.monotonic())
        self.turns = turns if wires else ()

    def can_carry(self, given: Input) -> bool:
        """Tell whether the input is one header for every server, and none of another authenticator's."""
        return given.around.site == 0 and not any(end in value for value in given.values for end in (b"\r", b"\n"))

    def ask(self, given: Input) -> tuple[str, Input, Answered | None]:
        """Send it to the next server; return its name, what the adapter sees, and the answer if it is one of ours."""
        name = next(self._next)
        sent = _as_sent(given)
        wire = self._fresh(name)
        wire.send(_raw(sent))
        try:
            found = wire.read_response(head=sent.around.method == "HEAD")
        except (ConnectionClosed, NotHttp):
            wire.reconnect()
            return name, sent, None
        if found.status in _REFUSALS or found.fields.get("connection") == "close":
            wire.reconnect()
        return name, joined(sent) if name.startswith("gunicorn") else sent, _ours(found)

    def _fresh(self, name: str) -> RawConnection:
        """Return the connection, a new one if the server may be about to hang up for want of requests."""
        if time.monotonic() - self._used[name] > _IDLE:
            self._wires[name].reconnect()
        self._used[name] = time.monotonic()
        return self._wires[name]

    def may_refuse(self, sent: Input) -> bool:
        """Tell whether a server may take offence at it before we see it."""
        texts = [value for _, value in sent.headers]
        return not _PRINTABLE.issuperset(b"".join(texts)) or max(map(len, texts), default=0) > _MOST


@contextmanager
def serve(world: World, folder: Path, names: tuple[str, ...], turns: tuple[int, ...]) -> Iterator[Sockets]:
    """Start the named servers over the installation and connect to each."""
    with ExitStack() as stack:
        wires = {}
        for server in (server for server in SERVERS if server.name in names):
            app, *options = _APPS[server.name]
            (folder / server.name).mkdir()
            running = RunningServer(server, app, folder / server.name, environment(world), *options)
            stack.callback(running.stop)
            running.wait()
            wires[server.name] = stack.enter_context(RawConnection(running.port))
        yield Sockets(wires, turns)


def _as_sent(given: Input) -> Input:
    """Return the input as it can go over a socket from this host: white space around values is no part of them."""
    around = given.around
    path = around.path if around.path.startswith("/") and _PATH.issuperset(around.path) else "/v1/things"
    headers = [(name, value) for name, value in around.headers if b"\r" not in value and b"\n" not in value]
    return Input(
        given.number,
        tuple(value.strip(b" \t") for value in given.values),
        replace(
            around,
            peer=PROXY,
            scheme="http",
            origin=None,
            method=around.method if around.method in _METHODS else "GET",
            path=path if not path.startswith("//") else "/v1/things",
            headers=[(name, value.strip(b" \t")) for name, value in headers],
        ),
    )


def _raw(sent: Input) -> bytes:
    lines = [f"{sent.around.method} {sent.around.path} HTTP/1.1".encode(), b"host: api.example"]
    if sent.around.method in ("POST", "PUT"):
        lines.append(b"content-length: 0")
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in sent.headers), b"", b""])


def _ours(found: Response) -> Answered | None:
    """Return what the middleware or the app behind it said; None for a server's own refusal."""
    ours = "cache-control" in found.fields or found.status == 200
    if found.status in _REFUSALS and not ours:
        return None
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers)
    return Answered(found.status, tuple(pair for pair in headers if pair[0] not in _OWN), found.body, found.head)
