"""uvicorn as a part of a process: somebody else decides when it stops, and it stops in time.

Here: how our web servers are set up, listen and end. Not here: what they serve (`pages`, `codec_server`, `metrics`),
how many connections they keep (`connections`, `accepting`).
"""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from octy_worker.web.acceptor import Acceptor, LimitedProtocol, listen
from octy_worker.web.connections import COUNTERS, ConnectionTable, Limits, Phase

_GRACE = 5  # seconds for answers under way; a request that never ends must not hold up the stop of a worker
_RESERVED = 64  # descriptors that connections never take: database, log, files of an answer

_logger = logging.getLogger(__name__)


class WebServer(uvicorn.Server):
    """uvicorn without signal handlers of its own, and with limits on connections."""

    def __init__(self, config: uvicorn.Config, limits: Limits, counters: MutableSequence[float] | None = None) -> None:
        super().__init__(config)
        self._limits = limits
        self._counters = [0.0] * COUNTERS if counters is None else counters
        self._acceptor: Acceptor | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs this."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave signals to whoever runs this."""

    @property
    def port(self) -> int:
        """The port on which it listens."""
        assert self._acceptor is not None
        return int(self._acceptor.sockets[0].getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and accept within the limits. Raises OSError when the address can't be had."""
        config = self.config
        await self.lifespan.startup()
        self.servers = []  # uvicorn's own, which have no limits
        listening = sockets or await listen(config.host, config.port)
        limits = replace(self._limits, connections=min(self._limits.connections, _free_descriptors()))
        if limits.connections < self._limits.connections:
            _logger.warning("at most %d connections: the limit of open files allows no more", limits.connections)

        def protocol(tell: Callable[[Phase], None], lost: Callable[[], None]) -> LimitedProtocol:
            return LimitedProtocol(
                tell=tell,
                lost=lost,
                config=config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        connections = ConnectionTable(limits, time.monotonic, self._counters)
        self._acceptor = Acceptor(listening, connections, limits, protocol=protocol, context=config.ssl)
        self.started = True
        _logger.info("listening on %s port %d%s", config.host or "*", self.port, " (TLS)" if config.ssl else "")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, end answers under way in time, and close what is left."""
        if self._acceptor is not None:
            self._acceptor.close()
        await super().shutdown(sockets)


def web_server(
    app: Starlette,
    *,
    host: str,
    port: int,
    certificate: str = "",
    private_key: str = "",
    limits: Limits = Limits(),  # noqa: B008  # frozen
    counters: MutableSequence[float] | None = None,
) -> WebServer:
    """Return a server that doesn't listen yet. No access log: addresses hold the links' tokens."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=certificate or None,
        ssl_keyfile=private_key or None,
        http="h11",  # the same parser wherever we run; uvicorn would take httptools where it is installed
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=int(limits.idle_timeout),
        timeout_graceful_shutdown=_GRACE,
    )
    return WebServer(config, limits, counters)


async def serve_until(stop: asyncio.Event, server: WebServer, name: str) -> None:
    """Listen until told to stop; raise OSError when the address can't be had."""
    serving = asyncio.create_task(_listen(server, name))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving


async def _listen(server: WebServer, name: str) -> None:
    try:
        await server.serve()
    except OSError as error:
        where = f"{server.config.host}:{server.config.port}"
        raise OSError(f"{name} can't listen on {where}: {error.strerror}") from None


def _free_descriptors() -> int:
    """Return how many connections the limit of open files allows beside what is open and what is reserved."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    return max(1, soft - _open_descriptors() - _RESERVED)


def _open_descriptors() -> int:
    listing = Path("/dev/fd")
    try:
        return sum(1 for _ in listing.iterdir())
    except OSError:
        return _RESERVED


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set in the running loop. A second signal changes nothing."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
