"""Accepting connections for uvicorn, within limits (`connections`).

uvicorn leaves accepting to asyncio, which has no limits: connections in a TLS handshake are not counted, one with half
a header stays open forever, and when file descriptors run out asyncio logs once for each entry of the backlog. Here
connections are counted from `accept` on, and each phase has a timeout.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from octy_worker.web.connections import Connection, ConnectionTable, Limits, Phase

_BATCH = 64  # connections accepted before the loop runs other callbacks
_BACKLOG = 512
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPT_DELAY = 1.0  # seconds after such an error, which also limits log lines
_SHORT_ACCEPT_DELAY = 0.1  # seconds after any other: usually one of the connection alone, which Linux passes on
_EXPIRE_INTERVAL = 0.5  # seconds
_SHUTDOWN_TIMEOUT = 2.0  # of the TLS close_notify exchange

_logger = logging.getLogger(__name__)


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol for HTTP/1.1, which reports the phase of its connection."""

    def __init__(self, *, on_phase: Callable[[Phase], None], on_lost: Callable[[], None], **values: Any) -> None:
        super().__init__(**values)
        self._on_phase = on_phase
        self._on_lost = on_lost

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection waits for a request."""
        super().connection_made(transport)
        self._on_phase(Phase.HEADER)

    def data_received(self, data: bytes) -> None:
        """Bytes may change the phase."""
        super().data_received(data)
        self._on_phase(self._phase())

    def on_response_complete(self) -> None:
        """The connection waits for the next request."""
        super().on_response_complete()
        self._on_phase(self._phase())

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        self._on_lost()
        super().connection_lost(exc)

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEADER if self.cycle is None or self.conn.trailing_data[0] else Phase.IDLE
        return Phase.BODY if self.conn.their_state is h11.SEND_BODY else Phase.RESPONSE


class Acceptor:
    """Accepts connections on listening sockets, until closed."""

    def __init__(
        self,
        sockets: list[socket.socket],
        connections: ConnectionTable,
        limits: Limits,
        *,
        protocol: Callable[[Callable[[Phase], None], Callable[[], None]], LimitedProtocol],
        context: ssl.SSLContext | None,
    ) -> None:
        self.sockets = sockets
        self._connections = connections
        self._limits = limits
        self._protocol = protocol
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._delays: dict[socket.socket, asyncio.TimerHandle] = {}
        self._expire_timer = self._loop.call_later(_EXPIRE_INTERVAL, self._expire)
        for listener in sockets:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Stop accepting, and abort connections in a TLS handshake."""
        self._expire_timer.cancel()
        for delay in self._delays.values():
            delay.cancel()
        for listener in self.sockets:
            self._loop.remove_reader(listener)
            listener.close()
        for connection in self._connections:
            if connection.phase is Phase.HANDSHAKE:
                connection.abort()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                accepted, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listener, error)
                return
            self._admit(accepted, str(peer[0]))

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Wait, as the listener may stay readable; without descriptors or memory, evict a connection before."""
        self._connections.count_accept_error()
        delay = _SHORT_ACCEPT_DELAY
        if error.errno in _OUT_OF_RESOURCES:
            self._connections.evict_oldest()
            delay = _ACCEPT_DELAY
        _logger.error("can't accept connections: %s; next try in %g s", error.strerror, delay)
        self._loop.remove_reader(listener)
        self._delays[listener] = self._loop.call_later(delay, self._loop.add_reader, listener, self._accept, listener)

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        connection = self._connections.admit(peer)
        if connection is None:
            accepted.close()
            return
        accepted.setblocking(False)
        connection.abort = accepted.close  # until the task runs: one that is cancelled before that executes nothing
        task = self._loop.create_task(self._start(accepted, connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, accepted: socket.socket, connection: Connection) -> None:
        """Do the TLS handshake and pass the connection to the protocol. A failed handshake is not logged."""
        if accepted.fileno() < 0:  # closed by `abort` above
            return
        task = asyncio.current_task()
        assert task is not None
        connection.abort = task.cancel
        tls = self._context is not None  # asyncio accepts these timeouts with TLS only
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: self._protocol(
                    lambda phase: self._connections.move(connection, phase),
                    lambda: self._connections.release(connection),
                ),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_timeout if tls else None,
                ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT if tls else None,
            )
        except (OSError, asyncio.CancelledError):  # ssl.SSLError is an OSError
            self._connections.release(connection)  # the transport closes the socket
            return
        connection.abort = transport.abort

    def _expire(self) -> None:
        self._connections.expire()
        self._expire_timer = self._loop.call_later(_EXPIRE_INTERVAL, self._expire)


async def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of a host. Raises OSError if one is not available."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as opened:  # closes them, unless all can listen
        sockets = [
            opened.enter_context(socket.create_server(address, family=family, backlog=_BACKLOG))
            for family, _, _, _, address in dict.fromkeys(found)
        ]
        opened.pop_all()
    return sockets
