"""The connection behind an ASGI server's `receive`, where the server gives access to it.

uvicorn and gunicorn rewrite peer and scheme in the scope by the forwarding headers of a local peer before any
middleware runs, but trust is a setting of ours (T9). So both are taken from the connection. These ways to it are not
promised by the servers; each is a row of the conformance suite.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class Transport(Protocol):
    """A transport of asyncio, uvloop or another event loop (asyncio.BaseTransport)."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a property of the connection."""


def find_transport(receive: Callable[[], Awaitable[Any]] | None) -> Transport | None:
    """Return the transport behind uvicorn's and gunicorn's `receive`; None elsewhere, or if `receive` was wrapped."""
    owner = getattr(receive, "__self__", None)
    transport = getattr(owner, "transport", None) or getattr(getattr(owner, "protocol", None), "transport", None)
    return transport if hasattr(transport, "get_extra_info") else None


def may_have_transport(owner: object) -> bool:
    """Return whether `find_transport` may ever find one behind a `receive` that is a method of this object."""
    return hasattr(owner, "transport") or hasattr(owner, "protocol")


def scheme_of(transport: Transport) -> str:
    """Return `https` or `http`."""
    return "http" if transport.get_extra_info("ssl_object") is None else "https"
