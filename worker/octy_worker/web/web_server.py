"""uvicorn embedded in a process of ours: no signal handlers, limits on connections, a bounded shutdown."""

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

import uvicorn
from starlette.applications import Starlette

from octy_worker.web.acceptor import Acceptor, LimitedProtocol, listen
from octy_worker.web.connections import COUNTERS, ConnectionTable, Limits, Phase

SHUTDOWN_TIMEOUT = 5  # seconds for open requests: one that never ends must not block the stop of a worker
_RESERVED = 64  # file descriptors for everything but connections: database, log, files

_logger = logging.getLogger(__name__)


class WebServer(uvicorn.Server):
    """uvicorn without signal handlers, and with limits on connections."""

    _acceptor: Acceptor  # from the start on

    def __init__(self, config: uvicorn.Config, limits: Limits, counters: MutableSequence[float] | None = None) -> None:
        super().__init__(config)
        self._limits = limits
        self._counters = [0.0] * COUNTERS if counters is None else counters

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the process handles signals."""
        yield

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._acceptor.sockets[0].getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and accept within the limits. Raises OSError if the address is not available."""
        config = self.config
        await self.lifespan.startup()
        self.servers = []  # uvicorn's own servers, which have no limits
        listening = sockets or await listen(config.host, config.port)
        limits = replace(self._limits, connections=min(self._limits.connections, _free_descriptors()))
        if limits.connections < self._limits.connections:
            _logger.warning("connections limited to %d by the limit of open files (ulimit -n)", limits.connections)

        def protocol(on_phase: Callable[[Phase], None], on_lost: Callable[[], None]) -> LimitedProtocol:
            return LimitedProtocol(
                on_phase=on_phase,
                on_lost=on_lost,
                config=config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        connections = ConnectionTable(limits, time.monotonic, self._counters)
        self._acceptor = Acceptor(listening, connections, limits, protocol=protocol, context=config.ssl)
        self.started = True
        _logger.info("listening on %s port %d%s", config.host or "*", self.port, " (TLS)" if config.ssl else "")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, wait for open requests for a bounded time, and close the rest."""
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
    """Return a server that doesn't listen yet. No access log: URLs contain the tokens of links."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=certificate or None,
        ssl_keyfile=private_key or None,
        http="h11",  # always the same parser; uvicorn would use httptools where it is installed
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=int(limits.idle_timeout),
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    return WebServer(config, limits, counters)


async def serve_until(stop: asyncio.Event, server: WebServer, name: str) -> None:
    """Serve until `stop` is set. Raises OSError if the address is not available."""
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
    """Return how many connections the limit of open files allows, minus open and reserved descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    return max(1, soft - _open_descriptors() - _RESERVED)


def _open_descriptors() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:  # a root folder without it: no more than what is reserved, in a process that starts
        return _RESERVED


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set in the running loop. A second signal has no effect."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
