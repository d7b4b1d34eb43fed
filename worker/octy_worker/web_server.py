"""uvicorn as a part of a process: somebody else decides when it stops, and it stops in time.

Here: how our web servers are set up, listen and end. Not here: what they serve (`pages`, `codec_server`).
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import uvicorn
from starlette.applications import Starlette

_GRACE = 5  # seconds for answers under way; a request that never ends must not hold up the stop of a worker


class WebServer(uvicorn.Server):
    """uvicorn without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs this."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave signals to whoever runs this."""


def web_server(app: Starlette, *, host: str, port: int, certificate: str = "", private_key: str = "") -> WebServer:
    """Return a server that doesn't listen yet. No access log: addresses hold the links' tokens."""
    return WebServer(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            ssl_certfile=certificate or None,
            ssl_keyfile=private_key or None,
            http="h11",  # the same parser wherever we run; uvicorn would take httptools where it is installed
            access_log=False,
            proxy_headers=False,
            server_header=False,
            log_config=None,
            timeout_graceful_shutdown=_GRACE,
        )
    )


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
    except SystemExit:  # uvicorn's way to say that it could not bind; out of a task it would end the loop itself
        where = f"{server.config.host}:{server.config.port}"
        raise OSError(f"{name} can't listen on {where}") from None


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set in the running loop. A second signal changes nothing."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
