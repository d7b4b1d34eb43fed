"""The ASGI adapter: for Starlette, FastAPI, Django and every other ASGI 3 app. It translates and decides nothing."""

from dataclasses import dataclass
from typing import Unpack

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.auth.pending import PendingCredentials, PendingSlowHash
from octy_middleware.auth.sharing import shared_authenticators
from octy_middleware.http.asgi_connection import find_transport, scheme_of
from octy_middleware.http.decision import UNAUTHENTICATED, AuthDecision
from octy_middleware.http.hidden_credentials import hide_in_scope
from octy_middleware.http.lifespan import App, Message, Receive, Scope, Send, forward_lifespan
from octy_middleware.http.response import ErrorResponse, Headers, RefusalHook
from octy_middleware.recording.async_waiters import make_waiter
from octy_middleware.settings import Options, Settings


@dataclass(frozen=True, slots=True)
class GrantedScopes:
    """The scopes of an accepted request. It serves as Starlette's `request.auth`, for `@requires`."""

    scopes: list[str]


_NO_SCOPES = GrantedScopes([])
_PAIRS = (tuple, list)
_AUTHENTICATED_TYPES = ("http", "websocket")
_ACCEPTED_BY = "octy.accepted_by"


class AsgiRequest:
    """An ASGI scope as a `Request`. Peer and scheme are those of the connection where the server gives access to it."""

    __slots__ = ("_scope", "_transport")

    def __init__(self, scope: Scope, receive: Receive | None = None) -> None:
        self._scope = scope
        self._transport = find_transport(receive)

    @property
    def method(self) -> str:
        """The HTTP method; a WebSocket has none and counts as GET."""
        return str(self._scope.get("method", "GET"))

    @property
    def path(self) -> str:
        """The path below the mount point of the app, which `exempt_paths` are compared with.

        It is read as Starlette's router reads it: any other reading would exempt a path that is routed elsewhere.
        daphne takes the mount point from a header that clients may send, so then none is removed.
        """
        path, root = str(self._scope["path"]), str(self._scope.get("root_path", ""))
        if not root or any(name.lower() == b"daphne-root-path" for name, _ in self._scope["headers"]):
            return path
        if path == root or path.startswith(f"{root}/"):
            return path[len(root) :] or "/"
        return path

    @property
    def peer(self) -> str | None:
        """The remote address of the connection."""
        client = self._scope.get("client")
        if self._transport is not None:
            client = self._transport.get_extra_info("peername", client)
        if not isinstance(client, _PAIRS) or not client:  # a unix socket has a name, mostly empty
            return None
        return str(client[0])

    @property
    def scheme(self) -> str:
        """`https`, `wss`, `http` or `ws`; empty where the server does not report it, as daphne for WebSockets."""
        if self._transport is not None:
            return scheme_of(self._transport)
        if "tls" in (self._scope.get("extensions") or ()):  # the ASGI TLS extension: present over TLS only
            return "https"
        return str(self._scope.get("scheme") or "")

    @property
    def has_replaced_peer(self) -> bool:
        """See `Request`. ASGI does not report it; where there is access to the connection, `peer` is read from it."""
        return False

    def header(self, name: bytes) -> list[bytes]:
        """All values of a header; servers write its name in lower case (ASGI HTTP 2.x)."""
        return [value for key, value in self._scope["headers"] if key == name]


class OctyASGIMiddleware:
    """Authenticate every request of an ASGI app by its Octy key pair, and record its outcome.

    Options are those of `octy_middleware.Settings`, by keyword or as OCTY_* variables, and `on_refusal`, the host's
    own form of error responses. Raises ConfigurationError when one is missing or wrong. For an accepted request
    `scope["user"]` is a `Principal`, `scope["auth"]` its scopes, and the Authorization header is removed
    (`hide_credentials`). Where no credentials are needed the user is an `UnauthenticatedUser` without scopes, unless an
    outer middleware has set one. At the end of a lifespan queued outcomes are written. Raises ValueError for scopes
    other than http, websocket and lifespan.
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
        self.authenticator = shared_authenticators.open(self, authenticator, settings, on_refusal, options)
        self._short_path = self.authenticator.short_path
        self._scopes = GrantedScopes(list(self.authenticator.settings.scopes))
        self._hsts = self.authenticator.settings.hsts > 0
        self._hide_credentials = self.authenticator.settings.hide_credentials
        self._commit_timeout = self.authenticator.settings.commit_timeout
        is_traced = self.authenticator.instrumentation is not None
        self._finish = self._decide_and_trace if is_traced else self._decide_from_database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error response of a rejected request; pass every other one to the app."""
        principal = None
        if self._short_path is not None and scope["type"] == "http":
            principal = self._short_path.accept_scope(scope, receive)
        if principal is not None:
            scope["user"] = principal
            scope["auth"] = self._scopes
            scope[_ACCEPTED_BY] = self.authenticator
            await self.app(scope, receive, send)
            return
        sender = await self._take_full_path(scope, receive, send)
        if sender is not None:
            await self.app(scope, receive, sender)

    async def _take_full_path(self, scope: Scope, receive: Receive, send: Send) -> Send | None:
        """Return the `send` for the app, or None when the request has its response."""
        if scope["type"] not in _AUTHENTICATED_TYPES:
            await self._handle_other_scope(scope, receive, send)
            return None
        # An outer app behind this middleware has accepted the request already.
        if scope.get(_ACCEPTED_BY) is self.authenticator and not _has_credentials(scope):
            return send
        request = AsgiRequest(scope, receive)
        decision = self.authenticator.decide_from_memory(request)
        if isinstance(decision, PendingCredentials) or decision.event is not None:
            decision = await self._finish(decision, request)
        if self._hsts:
            send = _with_headers(self.authenticator.transport_headers(request), send)
        principal = decision.principal
        if principal is not None:
            scope["user"] = principal
            scope["auth"] = self._scopes
            if self._hide_credentials:
                hide_in_scope(scope)
                scope[_ACCEPTED_BY] = self.authenticator
            if self._short_path is not None and scope["type"] == "http":
                source = self.authenticator.client_address(request).source
                self._short_path.learn(request, source)
                self._short_path.learn_connection(scope, receive, source)
        elif not decision.passes:
            await self._send_error(self.authenticator.error_response(decision, request), scope, receive, send)
            return None
        elif "user" not in scope:
            scope["user"] = UNAUTHENTICATED
            scope["auth"] = _NO_SCOPES
        return send

    async def _handle_other_scope(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise ValueError(f"OctyASGIMiddleware does not support scopes of type {scope['type']!r}")
        await forward_lifespan(self.app, scope, receive, send, self.close)

    def close(self) -> None:
        """Write queued outcomes; the last adapter with these settings also closes the database. Blocks."""
        shared_authenticators.close(self, self.authenticator)

    async def _decide_from_database(
        self, found: AuthDecision | PendingCredentials, request: AsgiRequest
    ) -> AuthDecision:
        authenticator, waiter = self.authenticator, make_waiter()
        authenticator.finish(found, request, waiter)
        await waiter.wait(self._commit_timeout)
        result = authenticator.result_of(waiter, found)
        if isinstance(result, PendingSlowHash):
            waiter, decided = make_waiter(), False
            submitted = authenticator.submit_slow_hash(result, request, waiter)
            while waiter.result is None and not decided:  # once more for the commit
                decided = submitted.is_decided
                await waiter.wait(self._commit_timeout)
            result = authenticator.result_of(waiter, found)
        assert isinstance(result, AuthDecision)
        return result

    async def _decide_and_trace(self, found: AuthDecision | PendingCredentials, request: AsgiRequest) -> AuthDecision:
        assert self.authenticator.instrumentation is not None
        with self.authenticator.instrumentation.record(request) as describe:
            decision = await self._decide_from_database(found, request)
            describe(decision)
            return decision

    async def _send_error(self, response: ErrorResponse, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = "http.response"
        if scope["type"] == "websocket":
            await receive()  # websocket.connect
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008})
                return
            prefix = "websocket.http.response"
        await send({"type": f"{prefix}.start", "status": response.status, "headers": list(response.headers)})
        body = b"" if scope.get("method") == "HEAD" else response.body
        await send({"type": f"{prefix}.body", "body": body})


def _has_credentials(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])


def _with_headers(headers: Headers, send: Send) -> Send:
    """Return a `send` that adds these headers to the response, replacing the app's headers of the same name."""
    if not headers:
        return send
    names = {name for name, _ in headers}

    async def send_with_headers(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            others = [item for item in message.get("headers", ()) if item[0].lower() not in names]
            message = {**message, "headers": [*others, *headers]}
        await send(message)

    return send_with_headers
