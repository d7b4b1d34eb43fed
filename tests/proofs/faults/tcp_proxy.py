"""A TCP proxy in front of one server: it passes, refuses, stalls or delays.

Here: connections and what is done to them. Not here: when (`chaos`).
"""

import asyncio
import contextlib
import socket
import struct
import threading
from enum import StrEnum
from types import TracebackType
from typing import Self

from octy_worker.dev.processes import LOOPBACK, free_port

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # linger for no time: the kernel sends RST


class Mode(StrEnum):
    """What becomes of a connection's bytes."""

    PASS = "pass"
    REFUSE = "refuse"  # nobody listens, and open connections are reset
    STALL = "stall"  # connections are taken, and nothing comes back
    DELAY = "delay"


class Proxy:
    """One port of ours in front of one port of theirs. A context manager; its methods are for any thread."""

    def __init__(self, behind: int) -> None:
        self.port = free_port()
        self._behind = behind
        self._mode, self._seconds = Mode.PASS, 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def set(self, mode: Mode, seconds: float = 0.0) -> None:
        """Change to this mode; `seconds` are those of a delay, each way."""
        asyncio.run_coroutine_threadsafe(self._set(mode, seconds), self._loop).result(10)

    def lead_to(self, port: int) -> None:
        """Have new connections lead to another port; open ones stay where they are."""
        self._behind = port

    def __enter__(self) -> Self:
        self._thread.start()
        self.set(Mode.PASS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _set(self, mode: Mode, seconds: float) -> None:
        self._mode, self._seconds = mode, seconds
        if mode is Mode.REFUSE:
            self._shut()
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _end(self) -> None:
        self._shut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._behind)
        except OSError:
            self._drop(writer)
            return
        self._open.add(back)
        pumps = [asyncio.ensure_future(self._pump(reader, back)), asyncio.ensure_future(self._pump(there, writer))]
        try:
            with contextlib.suppress(asyncio.CancelledError):  # our own end, which asyncio would take for a fault
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:  # one side's end is the other's, as when a server dies
            for pump in pumps:
                pump.cancel()
            self._drop(writer, back)

    def _drop(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            self._open.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                while self._mode is Mode.STALL:  # noqa: ASYNC110 - several proxies change seldom, and all may wait
                    await asyncio.sleep(0.02)
                if self._mode is Mode.DELAY:
                    await asyncio.sleep(self._seconds)
                writer.write(data)
                await writer.drain()
