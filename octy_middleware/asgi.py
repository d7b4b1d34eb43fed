"""The ASGI adapter: for Starlette, FastAPI, Django and every other ASGI 3 app. It translates and decides nothing."""

from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.auth.pending import PendingCredentials, PendingSlowHash
from octy_middleware.auth.sharing import close_authenticator, open_authenticator
from octy_middleware.http.decision import UNAUTHENTICATED, AuthDecision
from octy_middleware.http.hidden_credentials import hide_in_scope
from octy_middleware.http.lifespan import App, Message, Receive, Scope, Send, forward_lifespan
from octy_middleware.http.response import ErrorResponse, Headers, RefusalHook
from octy_middleware.process.async_libraries import run_in_executor
from octy_middleware.recording.async_waiters import make_waiter
from octy_middleware.settings import Options, Settings


@dataclass(frozen=True, slots=True)
class GrantedScopes:
    """The scopes of an accepted request; serves as Starlette's `request.auth`, for `@requires`."""

    scopes: list[str]


_NO_SCOPES = GrantedScopes([])
_PAIRS = (tuple, list)
_AUTHENTICATED_TYPES = ("http", "websocket")
_ACCEPTED_BY = "octy.accepted_by"


class AsgiRequest:
    """An authenticator's view of an ASGI scope.

    Peer and scheme are those of the connection itself where the server lets us see it. uvicorn and gunicorn rewrite
    both by forwarding headers that a local peer sends, before any middleware; whom to trust is our own setting (T9).
    """

    __slots__ = ("_scope", "_transport")

    def __init__(self, scope: Scope, receive: Receive | None = None) -> None:
        self._scope = scope
        owner = getattr(receive, "__self__", None)
        self._transport = None if owner is None else _transport_of(owner)

    @property
    def method(self) -> str:
        """The HTTP method; a WebSocket has none and counts as GET."""
        return str(self._scope.get("method", "GET"))

    @property
    def path(self) -> str:
        """The path below the place where the app is mounted, which is what `exempt_paths` speak of.

        It is read as Starlette's router reads it; any other reading would exempt a path that is routed elsewhere.
        daphne takes its mount point from a header that clients may send, so then none is removed.
        """
        path, root = str(self._scope["path"]), str(self._scope.get("root_path", ""))
        if not root or any(name.lower() == b"daphne-root-path" for name, _ in self._scope["headers"]):
            return path
        if path == root or path.startswith(f"{root}/"):
            return path[len(root) :] or "/"
        return path

    @property
    def peer(self) -> str | None:
        """The address of the connection's other end."""
        client = self._scope.get("client")
        if self._transport is not None:
            client = self._transport.get_extra_info("peername", client)
        if not isinstance(client, _PAIRS) or not client:  # a unix socket has a name of its own, mostly empty
            return None
        return str(client[0])

    @property
    def scheme(self) -> str:
        """`https`, `wss`, or their plain kin; empty where the server leaves it out, as daphne does for WebSockets."""
        if self._transport is not None:
            return "http" if self._transport.get_extra_info("ssl_object") is None else "https"
        if "tls" in (self._scope.get("extensions") or ()):  # the ASGI TLS extension: there over TLS only
            return "https"
        return str(self._scope.get("scheme") or "")

    @property
    def has_replaced_peer(self) -> bool:
        """See `Request`. ASGI says nothing of it; where the connection can be seen, `peer` is read from it."""
        return False

    def header(self, name: bytes) -> list[bytes]:
        """All values of a header; servers write its name in lower case (ASGI HTTP 2.x)."""
        return [value for key, value in self._scope["headers"] if key == name]


def _transport_of(owner: object) -> "_Transport | None":
    """Return the connection behind uvicorn's and gunicorn's `receive`, by its owner, unless somebody wrapped it."""
    transport = getattr(owner, "transport", None) or getattr(getattr(owner, "protocol", None), "transport", None)
    return transport if hasattr(transport, "get_extra_info") else None


class _Transport(Protocol):
    """What asyncio's, uvloop's and other loops' transports have in common (asyncio.BaseTransport)."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""


class OctyASGIMiddleware:
    """Authenticate every request of an ASGI app by its Octy key pair, and record how each one ended.

    Options are those of `octy_middleware.Settings`, by keyword or as OCTY_* variables, and `on_refusal`, the host's
    own form of a refusal. Raises ConfigurationError at once when one is missing or wrong. On success `scope["user"]`
    is a `Principal`, `scope["auth"]` its scopes, and the Authorization header is removed (`hide_credentials`); where no
    credentials are needed the user is a `Stranger` without scopes, unless somebody before us has set one. At the end
    of a lifespan what is queued is written. Raises ValueError for scopes that are neither http nor websocket nor
    lifespan.
    """

    def __init__(
        self,
        app: App,
        *,
        settings: Settings | None = None,
        authenticator: Authenticator | None = None,
        on_refusal: RefusalHook | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.app = app
        self.authenticator = open_authenticator(self, authenticator, settings, on_refusal, options)
        self._grants = GrantedScopes(list(self.authenticator.settings.scopes))
        self._hsts = self.authenticator.settings.hsts > 0
        self._hides = self.authenticator.settings.hide_credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request; hand every other one on to the app."""
        if scope["type"] not in _AUTHENTICATED_TYPES:
            await self._other(scope, receive, send)
            return
        if scope.get(_ACCEPTED_BY) is self.authenticator and not _has_credentials(
            scope
        ):  # an app in an app, each behind us
            await self.app(scope, receive, send)
            return
        request = AsgiRequest(scope, receive)
        decision = self.authenticator.decide_from_memory(request)
        if isinstance(decision, PendingCredentials) or decision.event is not None:
            decision = await self._decide_from_database(decision, request)
        if self._hsts:
            send = _with_headers(self.authenticator.transport_headers(request), send)
        principal = decision.principal
        if principal is not None:
            scope["user"] = principal
            scope["auth"] = self._grants
            if self._hides:
                hide_in_scope(scope)
                scope[_ACCEPTED_BY] = self.authenticator
        elif not decision.passes:
            await self._refuse(self.authenticator.error_response(decision, request), scope, receive, send)
            return
        elif "user" not in scope:
            scope["user"] = UNAUTHENTICATED
            scope["auth"] = _NO_SCOPES
        await self.app(scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise ValueError(f"OctyASGIMiddleware knows no scope of type {scope['type']!r}, so it lets none pass")
        await forward_lifespan(self.app, scope, receive, send, self.close)

    def close(self) -> None:
        """Write what is queued; the last of the adapters with these settings closes the database, too. Blocks."""
        close_authenticator(self, self.authenticator)

    async def _decide_from_database(
        self, found: AuthDecision | PendingCredentials, request: AsgiRequest
    ) -> AuthDecision:
        story = self.authenticator.decide_from_database(found, request, make_waiter)
        try:
            while True:
                step = next(story)
                if isinstance(step, PendingSlowHash):
                    # goes on when the client has gone: what was judged is recorded
                    await run_in_executor(
                        self.authenticator.slow_hash_threads, self.authenticator.verify_slow_hash, step, request
                    )
                else:
                    await step.wait(self.authenticator.settings.commit_timeout)
        except StopIteration as end:
            decision: AuthDecision = end.value
            return decision

    async def _refuse(self, refusal: ErrorResponse, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = "http.response"
        if scope["type"] == "websocket":
            await receive()  # websocket.connect
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008})
                return
            prefix = "websocket.http.response"
        await send({"type": f"{prefix}.start", "status": refusal.status, "headers": list(refusal.headers)})
        body = b"" if scope.get("method") == "HEAD" else refusal.body
        await send({"type": f"{prefix}.body", "body": body})


def _has_credentials(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])


def _with_headers(headers: Headers, send: Send) -> Send:
    """Have every response carry these headers, beside or instead of the app's own ones of the same name."""
    if not headers:
        return send
    names = {name for name, _ in headers}

    async def send_more(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            others = [item for item in message.get("headers", ()) if item[0].lower() not in names]
            message = {**message, "headers": [*others, *headers]}
        await send(message)

    return send_more
