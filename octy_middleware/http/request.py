"""PURE. What an adapter must be able to say of a request, whatever its server.

Here: the one interface between adapters and authenticator. Not here: an implementation (`asgi`, `wsgi`).
"""

from collections.abc import Sequence
from typing import Protocol


class Request(Protocol):
    """What an adapter must be able to say of a request."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def path(self) -> str:
        """The path below the place where the app is mounted, without the query."""

    @property
    def peer(self) -> str | None:
        """The address of the connection's other end, as the server knows it."""

    @property
    def scheme(self) -> str:
        """`http` or `https`, or a WebSocket's own names for them; empty where the server does not say."""

    @property
    def has_replaced_peer(self) -> bool:
        """Tell whether `peer` is known to be another address than that of the connection's other end."""

    def header(self, name: bytes) -> Sequence[bytes]:
        """All raw values of a header, given in lower case."""
