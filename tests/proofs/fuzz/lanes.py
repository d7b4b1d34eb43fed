"""Ways for a request into the code, in this process: the authenticator alone, the WSGI adapter, the ASGI adapter.

Here: carrying a request there and what came back, as a `Seen`. Not here: which inputs go which way (`campaign`), what
is right (`reference`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from support.world import look_into

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.http.decision import AuthDecision
from proofs.fuzz.answers import Answered
from proofs.fuzz.surroundings import Header, Surroundings

Values = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Input:
    """One request. `number` and the seed name it."""

    number: int
    values: tuple[bytes, ...]
    around: Surroundings

    @property
    def headers(self) -> list[Header]:
        return [*self.around.headers, *((b"authorization", value) for value in self.values)]

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.around.headers if key == name]


class Bare:
    """An authenticator's view of an input, with no server and no adapter between."""

    __slots__ = ("_headers", "method", "path", "peer", "scheme")
    has_replaced_peer = False

    def __init__(self, given: Input) -> None:
        around = given.around
        self.method, self.path, self.peer, self.scheme = around.method, around.path, around.peer, around.scheme
        self._headers: dict[bytes, list[bytes]] = {b"authorization": list(given.values)}
        for name, value in around.headers:
            self._headers.setdefault(name, []).append(value)

    def header(self, name: bytes) -> list[bytes]:
        return self._headers.get(name, [])


def decide_from_memory(authenticator: Authenticator, request: Bare) -> AuthDecision | PendingCredentials:
    """Ask the authenticator for what it can say at once; where its queue is full, wait as an adapter would."""
    found = authenticator.decide_from_memory(request)
    return (
        look_into(authenticator, found, request)
        if isinstance(found, AuthDecision) and found.event is not None
        else found
    )


def resolve(authenticator: Authenticator, pending: PendingCredentials, request: Bare) -> AuthDecision:
    """Have a claim decided by the store, and wait for the commit."""
    decision = look_into(authenticator, pending, request)
    assert isinstance(decision, AuthDecision), "no pair here has a slow hash"
    return decision


async def asgi_app(scope: Any, _receive: Any, send: Any) -> None:
    """Answer with whose request it is; a lifespan is none of its business."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["user"].display_name.encode()})


class AsgiLane:
    """The ASGI adapter over an authenticator."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._adapter = OctyASGIMiddleware(asgi_app, authenticator=authenticator)

    async def ask(self, given: Input) -> Answered:
        """Carry one request through the adapter."""
        around = given.around
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": around.method,
            "path": around.path,
            "scheme": around.scheme,
            "client": None if around.peer is None else (around.peer, 4711),
            "headers": given.headers,
        }

        async def send(message: Any) -> None:
            sent.append(message)

        await self._adapter(scope, _receive, send)
        start, body = sent
        return Answered(start["status"], tuple(start["headers"]), body["body"], head=around.method == "HEAD")

    def ask_all(self, quick: Sequence[Input], slow: Sequence[Input]) -> list[Answered | BaseException]:
        """Ask for the quick ones in turn, for those that wait for the store at once."""
        return asyncio.run(self._ask_all(quick, slow))

    async def _ask_all(self, quick: Sequence[Input], slow: Sequence[Input]) -> list[Answered | BaseException]:
        waiting = asyncio.gather(*(self.ask(given) for given in slow), return_exceptions=True)
        return [*[await self._caught(given) for given in quick], *await waiting]

    async def _caught(self, given: Input) -> Answered | BaseException:
        try:
            return await self.ask(given)
        except Exception as error:  # noqa: BLE001 - it is a finding
            return error

    def close(self) -> None:
        self._adapter.authenticator.slow_hash_threads.shutdown()


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def joined(given: Input) -> Input:
    """Return the input as WSGI hands it on: a repeated Authorization in one, a path that begins somewhere."""
    values = (b",".join(given.values),) if given.values else ()
    path = given.around.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") or "/"
    return Input(given.number, values, replace(given.around, path=path))


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with whose request it is."""
    start_response("200 OK", [])
    return [environ.get("REMOTE_USER", "").encode()]


class WsgiLane:
    """The WSGI adapter over an authenticator."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._adapter = OctyWSGIMiddleware(wsgi_app, authenticator=authenticator)

    def ask(self, given: Input) -> Answered:
        """Carry one request through the adapter."""
        around = given.around
        started: list[Any] = []
        environ: dict[str, Any] = {
            "REQUEST_METHOD": around.method,
            "PATH_INFO": around.path.encode("utf-8", "surrogateescape").decode("latin-1"),
            "wsgi.url_scheme": around.scheme,
            "wsgi.input": BytesIO(),
            "REMOTE_USER": "forged",
        }
        if around.peer is not None:
            environ["REMOTE_ADDR"] = around.peer
        for name, value in given.headers:
            variable = "HTTP_" + name.decode().upper().replace("-", "_")
            before = f"{environ[variable]}," if variable in environ else ""
            environ[variable] = before + value.decode("latin-1")
        body = b"".join(self._adapter(environ, lambda *words: started.extend(words)))
        status, headers = started
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        return Answered(int(status[:3]), pairs, body, head=around.method == "HEAD")
