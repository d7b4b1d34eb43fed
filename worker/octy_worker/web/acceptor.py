"""Accepting connections for uvicorn, within limits (`connections`).

uvicorn leaves accepting to asyncio, which knows no limit: a connection without a finished TLS handshake is seen by
nobody, one with half a header stays for ever, and when descriptors run out asyncio logs once for each place in the
backlog. Here connections are counted from `accept` on, and each phase has a timeout.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from octy_worker.web.connections import Connection, ConnectionTable, Limits, Phase

_BATCH = 64  # connections accepted before others have their turn
_BACKLOG = 512
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPT_DELAY = 1.0  # seconds after an accept error, and so between two lines of the log
_SWEEP = 0.5  # seconds between two looks for connections whose time is over
_SHUTDOWN_TIMEOUT = 2.0  # of TLS's own goodbye

_logger = logging.getLogger(__name__)


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol for HTTP/1.1, which tells the phase of its connection."""

    def __init__(self, *, tell: Callable[[Phase], None], lost: Callable[[], None], **values: Any) -> None:
        super().__init__(**values)
        self._tell = tell
        self._lost = lost

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request from now on."""
        super().connection_made(transport)
        self._tell(Phase.HEADER)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        super().data_received(data)
        self._tell(self._phase())

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._tell(self._phase())

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place to others."""
        self._lost()
        super().connection_lost(exc)

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEADER if self.cycle is None or self.conn.trailing_data[0] else Phase.IDLE
        return Phase.BODY if self.conn.their_state is h11.SEND_BODY else Phase.RESPONSE


class Acceptor:
    """Accepts on listening sockets, until closed."""

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
        self._beginning: set[asyncio.Task[None]] = set()
        self._delays: dict[socket.socket, asyncio.TimerHandle] = {}
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        for listener in sockets:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Accept no more, and drop those that have no request yet."""
        self._sweeper.cancel()
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
                if error.errno not in _NO_ROOM:
                    raise
                self._rest(listener, error)
                return
            self._take(accepted, str(peer[0]))

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """Make room and wait: the listener stays readable, so trying again at once would never end."""
        self._connections.count_accept_error()
        self._connections.evict_oldest()
        _logger.error("connections can't be accepted: %s; trying again in %g s", error.strerror, _ACCEPT_DELAY)
        self._loop.remove_reader(listener)
        self._delays[listener] = self._loop.call_later(
            _ACCEPT_DELAY, self._loop.add_reader, listener, self._accept, listener
        )

    def _take(self, accepted: socket.socket, peer: str) -> None:
        connection = self._connections.admit(peer)
        if connection is None:
            accepted.close()
            return
        accepted.setblocking(False)
        connection.abort = accepted.close  # until the task has begun: a task cancelled before that runs no line
        task = self._loop.create_task(self._begin(accepted, connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket, connection: Connection) -> None:
        """Shake hands and hand over to the protocol. A handshake that fails is the client's own affair."""
        if accepted.fileno() < 0:  # closed by `abort` above
            return
        task = asyncio.current_task()
        assert task is not None
        connection.abort = partial(_cancel, task)
        tls = self._context is not None  # asyncio takes these timeouts with TLS only
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

    def _sweep(self) -> None:
        self._connections.expire()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of a host. Raises OSError when one can't be had."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets
