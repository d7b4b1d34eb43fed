"""Servers in processes of their own: when they are started again, and how they end."""

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.until import until_async
from support.world import World

from octy_worker.settings import WorkerSettings
from octy_worker.web import child_process
from octy_worker.web.child_process import Counters, Serve, ServerProcess
from octy_worker.web.connections import ConnectionCounter


def end_at_once(_settings: WorkerSettings, _counters: Counters | None) -> int:
    return 7


def ignore_the_end(_settings: WorkerSettings, counters: Counters | None) -> int:
    assert counters is not None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    counters[ConnectionCounter.OPEN] = 1
    threading.Event().wait()
    return 0


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    world = World(tmp_path)
    world.close()
    return world.worker_settings()


def test_server_that_ran_for_long_is_started_again_after_the_first_delay(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "FIRST_BACKOFF", 0.1)
    monkeypatch.setattr(child_process, "HEALTHY_AFTER", 0.0)
    ended = "server: process ended with status 7; restarting it in 0.1 s"

    async def act() -> None:
        stop = asyncio.Event()
        server = ServerProcess("server", end_at_once)
        watching = asyncio.create_task(child_process.supervise(server, settings, stop, child_process.new_counters()))
        await until_async(lambda: caplog.text.count(ended) == 2)
        stop.set()
        await watching

    asyncio.run(act())


def starts_until(settings: WorkerSettings, serve: Serve, ready: Callable[[Counters], bool]) -> int:
    """Supervise a server until `ready`, then stop. Return how often it was started; its process has ended."""
    counters = child_process.new_counters()

    async def act() -> None:
        stop = asyncio.Event()
        server = ServerProcess("server", serve)
        watching = asyncio.create_task(child_process.supervise(server, settings, stop, counters))
        await until_async(lambda: ready(counters))
        stop.set()
        await watching

    asyncio.run(asyncio.wait_for(act(), 60))
    return counters[ConnectionCounter.STARTS]


def test_worker_that_stops_does_not_wait_for_the_next_start(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "FIRST_BACKOFF", 3600.0)
    assert starts_until(settings, end_at_once, lambda _: "restarting it in 3600 s" in caplog.text) == 1


def test_server_that_does_not_stop_is_killed(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "GRACE_PERIOD", 0.2)
    assert starts_until(settings, ignore_the_end, lambda counters: counters[ConnectionCounter.OPEN] == 1) == 1
