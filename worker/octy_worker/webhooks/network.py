"""Network backend for webhooks: resolves a host name once, checks all its addresses, and connects to one of them.

Code that checks a name and then lets it be resolved again can get two different answers (DNS rebinding). Here the
address that was checked is the address of the connection; TLS still verifies the name.
"""

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from ssl import SSLCertVerificationError, SSLContext
from typing import Any

import httpcore2 as httpcore

from octy_middleware.clock import Clock
from octy_worker.webhooks.failures import FailureReason, PostError
from octy_worker.webhooks.url_policy import is_public

_CONNECT_TIMEOUT = 5.0  # seconds per address


class PublicNetworkBackend(httpcore.NetworkBackend):
    """Connects to public addresses only. All its waits end `timeout` seconds after it was created."""

    def __init__(self, *, timeout: float, allow_private: bool, monotonic: Clock = time.monotonic) -> None:
        self._deadline = monotonic() + timeout
        self._allow_private = allow_private
        self._monotonic = monotonic
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # one deadline for all waits
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that accepts. Raises PostError when any address is not public."""
        addresses = self._addresses(host, port)
        if not self._allow_private and not all(map(is_public, addresses)):
            raise PostError(FailureReason.REFUSED_ADDRESS)
        error_to_raise: Exception = PostError(FailureReason.UNKNOWN_NAME)
        for address in addresses:
            try:
                wait = min(_CONNECT_TIMEOUT, self.remaining())
                stream = self._plain.connect_tcp(address, port, wait, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                error_to_raise = error
            else:
                return _DeadlineStream(stream, self)
        raise error_to_raise

    def remaining(self) -> float:
        """Return the seconds until the deadline. Raises PostError after it."""
        remaining = self._deadline - self._monotonic()
        if remaining <= 0:
            raise PostError(FailureReason.TOO_SLOW)
        return remaining

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Resolve a name in a thread, because the system's resolver has no timeout."""
        found: SimpleQueue[Sequence[str]] = SimpleQueue()
        threading.Thread(target=lambda: found.put(resolve(host, port)), name="octy-webhook-name", daemon=True).start()
        try:
            return found.get(timeout=self.remaining())
        except Empty:
            raise PostError(FailureReason.TOO_SLOW) from None


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, each once, in the system's order; empty when it can't be resolved."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label that is empty or too long is a UnicodeError
        return ()
    return tuple(dict.fromkeys(str(place[4][0]) for place in found))


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose waits end at the deadline of its backend."""

    def __init__(self, stream: httpcore.NetworkStream, network: PublicNetworkBackend) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Read available bytes."""
        return self._stream.read(max_bytes, self._network.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Write all bytes."""
        self._stream.write(buffer, self._network.remaining())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Start TLS and verify the host name."""
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._network.remaining())
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, SSLCertVerificationError):
                raise PostError(FailureReason.UNTRUSTED) from None
            raise
        return _DeadlineStream(stream, self._network)

    def get_extra_info(self, info: str) -> Any:
        """Return information about the connection; see httpcore."""
        return self._stream.get_extra_info(info)
