"""HTTP client of demo, dev and tests that retries when the server has just closed a kept-alive connection.

A server may close an idle connection at any time, also while the next request is being sent (RFC 9112, section 9.3).
"""

import ssl
from typing import Any

import httpx2

KEEPALIVE_EXPIRY = 1.0
"""Seconds for which an idle connection is kept. Servers close theirs after 2 s (gunicorn) to 5 s (uvicorn, worker)."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CLOSED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


def http_client(
    tls: ssl.SSLContext, *, base_url: str = "", timeout: float = 30.0, follow_redirects: bool = False
) -> httpx2.Client:
    """Return a client that verifies servers with `tls` and reads nothing from the environment."""
    return httpx2.Client(
        transport=RetryingTransport(tls),
        base_url=base_url,
        timeout=timeout,
        follow_redirects=follow_redirects,
        trust_env=False,
    )


class RetryingTransport(httpx2.BaseTransport):
    """Retries a request on a new connection when a kept-alive connection was closed without a response.

    Only safe methods use kept-alive connections. For others it is unknown whether the server has read the request, so
    each has its own connection, and its error is raised.
    """

    def __init__(self, tls: ssl.SSLContext, *, keepalive_expiry: float = KEEPALIVE_EXPIRY) -> None:
        self._kept = _transport(tls, httpx2.Limits(keepalive_expiry=keepalive_expiry))
        self._single = _transport(tls, httpx2.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; see httpx2."""
        if request.method not in _SAFE_METHODS:
            return self._single.handle_request(request)
        steps: list[str] = []

        def note(step: str, _details: dict[str, Any]) -> None:
            steps.append(step)

        request.extensions = {**request.extensions, "trace": note}
        try:
            return self._kept.handle_request(request)
        except _CLOSED:
            if any(step.startswith("connection.connect") for step in steps):
                raise  # a new connection was closed: no keep-alive race
            return self._single.handle_request(request)

    def close(self) -> None:
        """Close all connections."""
        self._kept.close()
        self._single.close()


def _transport(tls: ssl.SSLContext, limits: httpx2.Limits) -> httpx2.HTTPTransport:
    return httpx2.HTTPTransport(verify=tls, trust_env=False, limits=limits)
