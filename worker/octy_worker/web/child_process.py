"""A web server in a process of its own, so that an attack on it does not reach the worker.

The worker starts that process, restarts it when it ends, and stops it with itself. Settings go to it through an
inherited pipe (`multiprocessing`, method "spawn"), never as arguments. Counters come back in shared memory, so that the
worker reads only numbers from a process that is open to a network.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_worker.log_output import log_to_stderr
from octy_worker.settings import WorkerSettings
from octy_worker.web.connections import COUNTERS, ConnectionCounter

FIRST_BACKOFF, MAX_BACKOFF = 1.0, 30.0  # seconds before a restart
HEALTHY_AFTER = 60.0  # seconds of running that reset the backoff
GRACE_PERIOD = 10.0  # seconds to stop; open requests get five

_logger = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")

Counters = MutableSequence[float]
Serve = Callable[[WorkerSettings, Counters | None], int]
"""Serves until SIGTERM or SIGINT and returns the exit code; a function of a module, so that a child can import it."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """What a child process runs. `name`: in the log. `uses_temporal`: it gets TEMPORAL_* variables, with secrets."""

    name: str
    serve: Serve
    uses_temporal: bool = False


def new_counters() -> Counters:
    """Return counters at zero in memory that a child process shares."""
    counters: Counters = _spawn.RawArray("d", COUNTERS)
    return counters


def check_certificate(certificate: str, key: str, *, settings: str) -> None:
    """Raise ConfigurationError with the names of the settings when certificate and private key can't be loaded."""
    if not certificate and not key:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"{settings} can't be used: {error}") from None


async def supervise(server: ServerProcess, settings: WorkerSettings, stop: asyncio.Event, counters: Counters) -> None:
    """Run a server in a child process until `stop` is set. One that can't start does not stop the worker."""
    backoff = FIRST_BACKOFF
    while not stop.is_set():
        process, begun = _start(server, settings, counters), time.monotonic()
        await _wait_until_ended(process, stop)
        if stop.is_set():
            await asyncio.to_thread(_stop, process)
            return
        status, counters[ConnectionCounter.OPEN] = process.exitcode, 0
        process.close()
        if time.monotonic() - begun >= HEALTHY_AFTER:
            backoff = FIRST_BACKOFF
        _logger.error("%s: process ended with status %s; restarting it in %g s", server.name, status, backoff)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff)
        backoff = min(2 * backoff, MAX_BACKOFF)


def _start(server: ServerProcess, settings: WorkerSettings, counters: Counters) -> multiprocessing.context.SpawnProcess:
    level = logging.getLogger().getEffectiveLevel()
    temporal = dict(settings.temporal_variables) if server.uses_temporal else {}
    values = (server, _serialize(settings), temporal, counters, level)
    process = _spawn.Process(target=_run, args=values, name=f"octy-{server.name.replace(' ', '-')}")
    process.start()
    counters[ConnectionCounter.STARTS] += 1
    _logger.info("%s: serving in process %s", server.name, process.pid)
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
    process.join(GRACE_PERIOD)
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


def _run(
    server: ServerProcess, values: dict[str, Any], temporal: dict[str, str], counters: Counters, level: int
) -> None:
    """Entry point of the child. It ignores Ctrl-C, which reaches the whole group: the worker stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to_stderr(level, rate_limited=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(server.serve(WorkerSettings.build(**values).with_temporal(temporal), counters))


def _end_with_parent() -> None:
    """End this process when the worker has ended for any reason, at the latest after the grace period."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_PERIOD)
    os._exit(1)  # pragma: no cover - no test waits for it: a child has the real grace period
