"""The HTTP client of demo, dev and tests: a connection that the server has just closed fails no request.

Here: when a kept connection is used again, and which request is sent once more. Not here: what is asked (`customer`,
`demo_acts`). A connection may be closed by its server at any moment in which nothing is under way on it, also while
the next request is on its way there (RFC 9112, section 9.3).
"""

import ssl
from typing import Any

import httpx2

KEPT = 1.0
"""Seconds for which an idle connection is kept. Servers close theirs after 2 s (gunicorn) to 5 s (uvicorn, ours)."""
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
_CLOSED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


def http_client(
    tls: ssl.SSLContext, *, base_url: str = "", timeout: float = 30.0, follow_redirects: bool = False
) -> httpx2.Client:
    """Return a client that verifies servers by `tls` and reads nothing from the environment."""
    return httpx2.Client(
        transport=RepeatingTransport(tls),
        base_url=base_url,
        timeout=timeout,
        follow_redirects=follow_redirects,
        trust_env=False,
    )


class RepeatingTransport(httpx2.BaseTransport):
    """Sends once more, on a new connection, what a kept connection closed without an answer.

    Only requests that change nothing are sent on kept connections: for any other it could not be known whether the
    server had read it, so each has a connection of its own, and a failure of that one is told.
    """

    def __init__(self, tls: ssl.SSLContext, *, kept: float = KEPT) -> None:
        self._kept = _transport(tls, httpx2.Limits(keepalive_expiry=kept))
        self._single = _transport(tls, httpx2.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2."""
        if request.method not in _REPEATABLE:
            return self._single.handle_request(request)
        steps: list[str] = []

        def note(step: str, _details: dict[str, Any]) -> None:
            steps.append(step)

        request.extensions = {**request.extensions, "trace": note}
        try:
            return self._kept.handle_request(request)
        except _CLOSED:
            if any(step.startswith("connection.connect") for step in steps):
                raise  # a new connection was closed: that is no matter of time
            return self._single.handle_request(request)

    def close(self) -> None:
        """Close all connections."""
        self._kept.close()
        self._single.close()


def _transport(tls: ssl.SSLContext, limits: httpx2.Limits) -> httpx2.HTTPTransport:
    return httpx2.HTTPTransport(verify=tls, trust_env=False, limits=limits)
