"""The pages in their own process, so that an attack on them does not reach the worker.

The worker starts that process, restarts it when it ends, and stops it with itself. Settings go to it through an
inherited pipe (`multiprocessing`, method "spawn"), never as arguments. Counters come back in shared memory, so that the
worker reads only numbers from a process that is open to the Internet.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import secrets
import signal
import ssl
import threading
import time
from collections.abc import MutableSequence
from typing import Any

from pydantic import SecretStr

from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_middleware.errors import ConfigurationError, OctyError
from octy_middleware.keys.keychain import Keychain
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.identity import keychains_of, verify_installation
from octy_worker.log_output import log_to_stderr
from octy_worker.pages.app import build_pages
from octy_worker.settings import WorkerSettings
from octy_worker.web.connections import COUNTERS, ConnectionCounter, Limits
from octy_worker.web.web_server import WebServer, serve_until, stop_on_signals, web_server

FIRST_BACKOFF, MAX_BACKOFF = 1.0, 30.0  # seconds before a restart
_HEALTHY_AFTER = 60.0  # seconds of running that reset the backoff
_GRACE_PERIOD = 10.0  # seconds to stop; open requests get five

_logger = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")


def new_counters() -> MutableSequence[float]:
    """Return counters at zero in memory that a child process shares."""
    counters: MutableSequence[float] = _spawn.RawArray("d", COUNTERS)
    return counters


def limits_of(settings: WorkerSettings) -> Limits:
    """Return the connection limits. Without a certificate a proxy terminates TLS, and every peer is that proxy."""
    return Limits(
        connections=settings.pages_max_connections,
        per_address=settings.pages_max_connections_per_address,
        exempt=settings.pages_proxies if settings.pages_certificate else None,
    )


def check_certificate(settings: WorkerSettings) -> None:
    """Raise ConfigurationError with the names of the settings when certificate and private key can't be loaded."""
    certificate, key = settings.pages_certificate, settings.pages_private_key
    if not certificate and not key:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"OCTY_PAGES_CERTIFICATE and OCTY_PAGES_PRIVATE_KEY can't be used: {error}") from None


def pages_server(
    settings: WorkerSettings, database: Database, counters: MutableSequence[float] | None = None
) -> WebServer:
    """Return the web server of the pages, not listening yet."""
    links = Links(settings.link_keys, settings.public_url)
    sealer = Sealer(settings.sealing_keys, secrets.token_bytes)
    return web_server(
        build_pages(settings, database, links, sealer, time.time),
        host=settings.pages_host,
        port=settings.pages_port,
        certificate=settings.pages_certificate,
        private_key=settings.pages_private_key,
        limits=limits_of(settings),
        counters=counters,
    )


def serve(settings: WorkerSettings, counters: MutableSequence[float] | None = None) -> int:
    """Serve the pages in this process until SIGTERM or SIGINT; return the exit code."""
    check_certificate(settings)
    database = Database(settings.database_url)
    try:
        check_schema(database)
        verify_installation(database, keychains_of(settings), time.time())
        asyncio.run(_serve(pages_server(settings, database, counters)))
    except (OctyError, OSError) as error:
        _logger.error("pages: %s", str(error).partition("\n")[0])  # noqa: TRY400  # the message is enough
        return 1
    finally:
        database.close()
    return 0


async def _serve(server: WebServer) -> None:
    await serve_until(stop_on_signals(), server, "the pages")


async def supervise(settings: WorkerSettings, stop: asyncio.Event, counters: MutableSequence[float]) -> None:
    """Run the pages in a child process until `stop` is set. Pages that can't start do not stop the worker."""
    backoff = FIRST_BACKOFF
    while not stop.is_set():
        process, begun = _start(settings, counters), time.monotonic()
        await _wait_until_ended(process, stop)
        if stop.is_set():
            await asyncio.to_thread(_stop, process)
            return
        status, counters[ConnectionCounter.OPEN] = process.exitcode, 0
        process.close()
        if time.monotonic() - begun >= _HEALTHY_AFTER:
            backoff = FIRST_BACKOFF
        _logger.error("pages: process ended with status %s; restarting it in %g s", status, backoff)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff)
        backoff = min(2 * backoff, MAX_BACKOFF)


def _start(settings: WorkerSettings, counters: MutableSequence[float]) -> multiprocessing.context.SpawnProcess:
    level = logging.getLogger().getEffectiveLevel()
    process = _spawn.Process(target=_run, args=(_serialize(settings), counters, level), name="octy-pages")
    process.start()
    counters[ConnectionCounter.STARTS] += 1
    _logger.info("pages: serving in process %s", process.pid)
    return process


async def _wait_until_ended(process: multiprocessing.context.SpawnProcess, stop: asyncio.Event) -> None:
    """Return when the process has ended or `stop` is set."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    waits = [asyncio.create_task(ended.wait()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(process.sentinel)
        for wait in waits:
            wait.cancel()
    if ended.is_set():
        await asyncio.to_thread(process.join)


def _stop(process: multiprocessing.context.SpawnProcess) -> None:
    process.terminate()
    process.join(_GRACE_PERIOD)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


def _serialize(settings: WorkerSettings) -> dict[str, Any]:
    """Return the settings as plain values for `WorkerSettings.build`: key chains refuse to be pickled."""
    return {name: _reveal(getattr(settings, name)) for name in type(settings).model_fields}


def _reveal(value: Any) -> Any:
    if isinstance(value, Keychain):
        return value.export()
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _run(values: dict[str, Any], counters: MutableSequence[float], level: int) -> None:
    """Entry point of the child. It ignores Ctrl-C, which reaches the whole group: the worker stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to_stderr(level, rate_limited=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(serve(WorkerSettings.build(**values), counters))


def _end_with_parent() -> None:
    """End this process when the worker has ended for any reason, at the latest after the grace period."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_PERIOD)
    os._exit(1)
