"""The WSGI adapter: for Flask, Django and every other WSGI app (PEP 3333). It translates and decides nothing."""

import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Unpack

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.auth.sharing import shared_authenticators
from octy_middleware.http.decision import Principal
from octy_middleware.http.hidden_credentials import hide_in_environ
from octy_middleware.http.response import Headers, RefusalHook
from octy_middleware.settings import Options, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

Environ = dict[str, Any]
_ACCEPTED_BY = "octy.accepted_by"
App = Callable[[Environ, "StartResponse"], Iterable[bytes]]


class WsgiRequest:
    """A WSGI environ as a `Request`."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self._environ.get("REQUEST_METHOD", "GET"))

    @property
    def path(self) -> str:
        """The path below the mount point of the app, which `exempt_paths` are compared with."""
        raw = str(self._environ.get("PATH_INFO", ""))
        return raw.encode("latin-1", "replace").decode("utf-8", "replace") or "/"

    @property
    def peer(self) -> str | None:
        """The client's address as the server reports it. Werkzeug's ProxyFix replaces it and keeps the original."""
        original = self._environ.get("werkzeug.proxy_fix.orig")
        return (self._environ if original is None else original).get("REMOTE_ADDR")

    @property
    def has_replaced_peer(self) -> bool:
        """See `Request`. With the PROXY protocol, gunicorn replaces the connection's address by the one it names."""
        connection = self._environ.get("gunicorn.socket")
        if connection is None:
            return False
        try:
            end = connection.getpeername()
        except OSError:
            return False
        return isinstance(end, tuple) and end[0] != self.peer

    @property
    def scheme(self) -> str:
        """`http` or `https`, of the connection where there is access to it.

        gunicorn takes it from headers of a local peer, uWSGI from those of any client, but trust is a setting of ours
        (T9). Where uWSGI may have read such a header the scheme is unknown, and this is empty.
        """
        connection = self._environ.get("gunicorn.socket")
        if connection is not None:
            return "https" if isinstance(connection, ssl.SSLSocket) else "http"
        if "uwsgi.version" in self._environ and not _SCHEME_HEADERS.isdisjoint(self._environ):
            return ""
        original = self._environ.get("werkzeug.proxy_fix.orig")
        return str((self._environ if original is None else original).get("wsgi.url_scheme", ""))

    def header(self, name: bytes) -> list[bytes]:
        """All values of a header; servers join repeated ones with commas."""
        value = self._environ.get(_VARIABLES.get(name) or _variable(name))
        return [] if value is None else [str(value).encode("latin-1", "replace")]


_SCHEME_HEADERS = frozenset({"HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_SSL"})


def _variable(name: bytes) -> str:
    return "HTTP_" + name.decode("ascii").upper().replace("-", "_")


_VARIABLES = {
    name: _variable(name)
    for name in (
        b"authorization",
        b"accept",
        b"user-agent",
        b"x-request-id",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"forwarded",
    )
}


class OctyWSGIMiddleware:
    """Authenticate every request of a WSGI app by its Octy key pair, and record its outcome.

    Options are those of `octy_middleware.Settings`, by keyword or as OCTY_* variables, and `on_refusal`, the host's
    own form of error responses. Raises ConfigurationError when one is missing or wrong. For an accepted request
    `environ["octy.principal"]` is a `Principal`, `REMOTE_USER` the account's reference, and HTTP_AUTHORIZATION is
    removed (`hide_credentials`). Where no credentials are needed neither of the two is set.
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

    def __call__(self, environ: Environ, start_response: "StartResponse") -> Iterable[bytes]:
        """Send the error response of a rejected request; pass every other one to the app."""
        principal = None if self._short_path is None else self._short_path.accept_environ(environ)
        if principal is None:
            return self._take_full_path(environ, start_response)
        self._name_account(environ, principal)
        environ[_ACCEPTED_BY] = self.authenticator
        return self.app(environ, start_response)

    def _take_full_path(self, environ: Environ, start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get(_ACCEPTED_BY) is self.authenticator and "HTTP_AUTHORIZATION" not in environ:
            return self.app(environ, start_response)  # accepted by an outer middleware
        environ.pop("REMOTE_USER", None)  # it may only be set by this middleware
        request = WsgiRequest(environ)
        decision = self.authenticator.decide(request)
        if self.authenticator.settings.hsts:
            start_response = _with_headers(self.authenticator.transport_headers(request), start_response)
        if not decision.passes:
            response = self.authenticator.error_response(decision, request)
            start_response(f"{response.status} {HTTPStatus(response.status).phrase}", _as_text(response.headers))
            return [] if request.method == "HEAD" else [response.body]
        if decision.principal is not None:
            if self._short_path is not None:
                self._short_path.learn(request, self.authenticator.client_address(request).source)
            self._name_account(environ, decision.principal)
            if self.authenticator.settings.hide_credentials:
                hide_in_environ(environ)
                environ[_ACCEPTED_BY] = self.authenticator
        return self.app(environ, start_response)

    @staticmethod
    def _name_account(environ: Environ, principal: Principal) -> None:
        environ["octy.principal"] = principal
        environ["REMOTE_USER"] = principal.reference
        environ["AUTH_TYPE"] = "Basic"

    def close(self) -> None:
        """Write queued outcomes; the last adapter with these settings stops the threads and closes the database.

        Queued outcomes are also written at SIGTERM and when the interpreter exits.
        """
        shared_authenticators.close(self, self.authenticator)


def _as_text(headers: Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _with_headers(headers: Headers, start_response: "StartResponse") -> "StartResponse":
    """Return a `start_response` that adds these headers, replacing the app's headers of the same name."""
    if not headers:
        return start_response
    names = {name.decode("latin-1") for name, _ in headers}

    def start_with_headers(status: str, given: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
        others = [item for item in given if item[0].lower() not in names]
        return start_response(status, [*others, *_as_text(headers)], *more)

    return start_with_headers
