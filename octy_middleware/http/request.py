"""The interface through which the authenticator reads a request, whatever the server."""

from collections.abc import Sequence
from typing import Protocol


class Request(Protocol):
    """One request, as an adapter sees it."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def path(self) -> str:
        """The path below the place where the app is mounted, without the query."""

    @property
    def peer(self) -> str | None:
        """The remote address of the connection, as the server reports it."""

    @property
    def scheme(self) -> str:
        """`http` or `https`, or `wss` and `ws` for WebSockets; empty where the server does not report it."""

    @property
    def has_replaced_peer(self) -> bool:
        """Whether `peer` is known to differ from the remote address of the connection."""

    def header(self, name: bytes) -> Sequence[bytes]:
        """All raw values of a header, given in lower case."""
