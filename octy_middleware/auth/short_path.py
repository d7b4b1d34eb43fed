"""The short path of an accepted request: from the server's own scope or environ straight to the header cache.

It accepts a request whose header and client this process has seen before, or it does nothing, and the full path
(`Authenticator.decide_from_memory`) decides. So it refuses nothing, waits for nothing, and leaves to the full path
whatever is unusual: a setting (`choose_short_path`), a server's mark, a second header, a new client, a full queue.

The source of a client is the one that the full path would find, and over plain HTTP the full path has accepted nothing
where HTTPS is required. A client is known by the tuple that a server puts into every scope of one connection, once the
full path has compared it with the connection; forwarding headers make another tuple. Where there is no access to the
connection the full path believes scope and environ, so there it is known by peer and scheme.

It is no part of the adapters' `__call__`: error trackers read the variables of that after an exception of the app, and
they must not hold the header.
"""

from typing import Any

from octy_middleware.auth.header_cache import HeaderCache
from octy_middleware.http.asgi_connection import find_transport, may_have_transport, scheme_of
from octy_middleware.http.decision import Principal
from octy_middleware.http.hidden_credentials import EVENT_OF_SCOPE, hide_in_environ
from octy_middleware.http.lifespan import Receive, Scope
from octy_middleware.http.request import Request
from octy_middleware.process.fork import restart_after_fork
from octy_middleware.settings import Settings

MAX_CLIENTS = 10_000


class ShortPath:
    """Accepts requests of clients that the full path has accepted. Safe for threads; empty in a forked child."""

    def __init__(self, header_cache: HeaderCache) -> None:
        self._header_cache = header_cache
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Know no client, in a forked child."""
        self._sources: dict[tuple[str | None, str], str] = {}  # by peer and scheme
        self._connections: dict[tuple[Any, ...], tuple[tuple[Any, ...], str, str]] = {}
        self._owners_without_transport: set[type] = {type(None)}  # of `receive`; None: it is a function

    def accept_scope(self, scope: Scope, receive: Receive) -> Principal | None:
        """Accept and record an HTTP request and remove its header, or return None: then the full path decides."""
        source = self._source_of_scope(scope, receive)
        if source is None or EVENT_OF_SCOPE in scope:
            return None
        headers, value, place = scope["headers"], None, 0
        for number, (name, content) in enumerate(headers):
            if name == b"authorization":
                if value is not None:
                    return None
                value, place = content, number
        decision = None if value is None else self._header_cache.get(value, source)
        if decision is None or decision.event is not None:  # an event that was not recorded
            return None
        others = [*headers]
        del others[place]
        scope["headers"] = others
        return decision.principal

    def _source_of_scope(self, scope: Scope, receive: Receive) -> str | None:
        try:
            client, scheme = scope["client"], scope["scheme"]
        except KeyError:
            return None
        if type(client) is not tuple or not client:
            return None
        known = self._connections.get(client)
        if known is not None and known[0] is client and known[1] == scheme:
            return known[2]
        if type(getattr(receive, "__self__", None)) in self._owners_without_transport and type(client[0]) is str:
            return self._sources.get((client[0], scheme))
        return None

    def accept_environ(self, environ: dict[str, Any]) -> Principal | None:
        """Accept and record a request and remove its header, or return None: then the full path decides."""
        try:
            value, peer, scheme = environ["HTTP_AUTHORIZATION"], environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]
        except KeyError:
            return None
        # With these, REMOTE_ADDR and wsgi.url_scheme alone do not show where a request came from (`WsgiRequest`).
        if "gunicorn.socket" in environ or "werkzeug.proxy_fix.orig" in environ or "uwsgi.version" in environ:
            return None
        source = self._sources.get((peer, scheme))
        decision = None if source is None else self._header_cache.get(value.encode("latin-1", "replace"), source)
        if decision is None or decision.event is not None:
            return None
        hide_in_environ(environ)
        return decision.principal

    def learn(self, request: Request, source: str) -> None:
        """Remember the source of a request that the full path has accepted, for others of its peer and scheme."""
        if len(self._sources) >= MAX_CLIENTS:
            self._sources.clear()
        self._sources[request.peer, request.scheme] = source

    def learn_connection(self, scope: Scope, receive: Receive, source: str) -> None:
        """Remember the client's tuple of such a request if it is the peer of the connection, with its scheme."""
        transport = find_transport(receive)
        if transport is None:
            owner = getattr(receive, "__self__", None)
            if not may_have_transport(owner):
                self._owners_without_transport.add(type(owner))
            return
        client, scheme, peer = scope.get("client"), scope.get("scheme"), transport.get_extra_info("peername")
        if type(client) is tuple and type(peer) is tuple and client == peer[:2] and scheme == scheme_of(transport):
            if len(self._connections) >= MAX_CLIENTS:
                self._connections.clear()
            self._connections[client] = client, scheme, source


def choose_short_path(
    settings: Settings, header_cache: HeaderCache, *, commit_before_response: bool
) -> ShortPath | None:
    """Return a short path, or None where a setting makes every request unusual."""
    unusual = (
        commit_before_response
        or settings.trusted_proxies
        or settings.exempt_paths
        or settings.hsts
        or settings.tracing
        or not settings.hide_credentials
    )
    return None if unusual else ShortPath(header_cache)
