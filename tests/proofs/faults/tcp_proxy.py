"""A TCP proxy in front of one server that passes, refuses, stalls or delays connections."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from typing import Self

from anyio.from_thread import start_blocking_portal

from octy_worker.dev.processes import LOOPBACK, free_port

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with a timeout of 0: the kernel sends RST


class Mode(StrEnum):
    """What the proxy does with a connection's bytes."""

    PASS = "pass"
    REFUSE = "refuse"  # the port is closed, and open connections are reset
    STALL = "stall"  # connections are accepted, and nothing is forwarded
    DELAY = "delay"


class TcpProxy:
    """A port in front of the port `target`. A context manager; its methods are thread-safe.

    `round_trips`: how often a client sent something after an answer, or first.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.round_trips = 0
        self._answered: dict[asyncio.StreamReader, bool] = {}  # by client: whether the server sent something last
        self._target = target
        self._mode, self._delay = Mode.PASS, 0.0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._resources = ExitStack()

    def set(self, mode: Mode, delay: float = 0.0) -> None:
        """Change the mode. `delay`: seconds each way, for `Mode.DELAY`."""
        self._portal.call(self._set, mode, delay)

    def set_target(self, port: int) -> None:
        """Connect new connections to another port; open ones stay connected."""
        self._target = port

    def fail_over(self, port: int) -> None:
        """Reset all connections and connect new ones to another port."""
        self.set(Mode.REFUSE)
        self.set_target(port)
        self.set(Mode.PASS)

    def __enter__(self) -> Self:
        self._portal = self._resources.enter_context(start_blocking_portal())
        self.set(Mode.PASS)
        return self

    def __exit__(self, *_: object) -> None:
        self.set(Mode.REFUSE)
        self._resources.close()

    async def _set(self, mode: Mode, delay: float) -> None:
        self._mode, self._delay = mode, delay
        if mode is not Mode.REFUSE:
            self._server = self._server or await asyncio.start_server(self._serve, LOOPBACK, self.port)
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._closing(writer):
            try:
                server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._target)
            except OSError:
                return
            with self._closing(server_writer), self._counting(reader):
                pumps = [
                    asyncio.ensure_future(self._pump(reader, server_writer, reader)),
                    asyncio.ensure_future(self._pump(server_reader, writer, reader)),
                ]
                try:
                    with suppress(asyncio.CancelledError):  # at the end of the loop; asyncio would log it as an error
                        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:  # one side's end is the other's, as when a server dies
                    for pump in pumps:
                        pump.cancel()

    @contextmanager
    def _closing(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    @contextmanager
    def _counting(self, client: asyncio.StreamReader) -> Iterator[None]:
        self._answered[client] = True
        try:
            yield
        finally:
            del self._answered[client]

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamReader
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self.round_trips += reader is client and self._answered[client]
                self._answered[client] = reader is not client
                while self._mode is Mode.STALL:  # noqa: ASYNC110 - modes change seldom, and all connections wait
                    await asyncio.sleep(0.02)
                if self._mode is Mode.DELAY:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
