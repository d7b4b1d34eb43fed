"""The relay is notified at once: poll intervals here are longer than a test waits."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from support.relay_rig import RecordingClient, change, put, relay, stop, until_undelivered
from support.until import TIMEOUT
from support.world import INSTALLATION, World

from octy_middleware.db.backend import Listener
from octy_middleware.db.database import Database
from octy_middleware.domain.outbox import MessageKind
from octy_middleware.errors import DatabaseUnavailableError
from octy_worker.outbox import listener
from octy_worker.outbox.dead_letters import retry_dead_letters

pytestmark = pytest.mark.usefixtures("short_retry_interval")

NEVER = 60.0  # seconds between two polls: the longest interval that settings allow, and longer than tests wait
OFTEN = 0.05


@pytest.fixture
def short_retry_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "RETRY_INTERVAL", 0.01)


class FailingListener:
    """A listener that fails a few times, then is the real one."""

    def __init__(self, real: Listener, failures: int, error: Exception) -> None:
        self._real = real
        self._failures = failures
        self._error = error

    def wait(self, timeout: float) -> bool:
        if self._failures:
            self._failures -= 1
            raise self._error
        return self._real.wait(timeout)

    def close(self) -> None:
        self._real.close()


async def _deliver_one_by_one(world: World, interval: float, between: Callable[[], None]) -> None:
    """Put each message when the one before it is delivered and the relay is idle."""
    temporal_client = RecordingClient()
    running = asyncio.create_task(relay(world, temporal_client, relay_poll_interval=interval).run())
    for number in range(4):
        await asyncio.to_thread(put, world, MessageKind.INCIDENT_OPENED, f"i{number}")
        async with asyncio.timeout(NEVER / 2):
            await until_undelivered(world, 0, running)
        await asyncio.to_thread(between)
    await stop(running)
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i{number}" for number in range(4)]


def test_new_message_is_delivered_at_once(world: World) -> None:
    asyncio.run(_deliver_one_by_one(world, NEVER, lambda: None))


def test_relay_is_notified_again_after_the_listen_connection_was_cut(world: World) -> None:
    def cut() -> None:
        if world.database_kind == "sqlite":
            (world.folder / "octy.db.wake-up").unlink()
        else:
            listening = "query LIKE 'LISTEN%' AND datname = current_database()"
            change(world, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}")

    asyncio.run(_deliver_one_by_one(world, NEVER, cut))


@pytest.mark.parametrize("error", [DatabaseUnavailableError("away"), ValueError("ann@customer.example")])
def test_lost_listen_connection_is_logged_once_and_delivery_continues(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    real = Database.listen
    monkeypatch.setattr(Database, "listen", lambda database: FailingListener(real(database), 2, error))
    asyncio.run(_deliver_one_by_one(world, NEVER, lambda: None))
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == f"relay: LISTEN connection lost ({type(error).__name__}); polling every {NEVER:g} s until it is back"


def test_relay_polls_without_notifications(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Database.listen
    away = DatabaseUnavailableError("away")
    monkeypatch.setattr(Database, "listen", lambda database: FailingListener(real(database), 1_000_000, away))
    asyncio.run(_deliver_one_by_one(world, OFTEN, lambda: None))


def retry_all(world: World) -> None:
    with world.database.write_session() as session:
        retry_dead_letters(session, None, actor="ada", reason="worker updated")


def test_retried_dead_letter_is_delivered_at_once(world: World) -> None:
    async def retried() -> list[str]:
        temporal_client = RecordingClient()
        running = asyncio.create_task(relay(world, temporal_client, relay_poll_interval=NEVER).run())
        await asyncio.to_thread(put, world, MessageKind.INCIDENT_OPENED, "i1")
        await until_undelivered(world, 1, running)
        await asyncio.to_thread(retry_all, world)
        await until_undelivered(world, 0, running)
        await stop(running)
        return temporal_client.ids

    put(world, MessageKind.INCIDENT_OPENED, "dead")
    change(world, "UPDATE outbox SET delivery_attempts = 5")
    assert sorted(asyncio.run(retried())) == [f"octy-{INSTALLATION}-incident-dead", f"octy-{INSTALLATION}-incident-i1"]


def test_idle_relay_stops_at_once(world: World) -> None:
    async def rest_and_stop() -> None:
        running = asyncio.create_task(relay(world, RecordingClient(), relay_poll_interval=NEVER).run())
        await asyncio.to_thread(put, world, MessageKind.INCIDENT_OPENED, "i1")
        await until_undelivered(world, 0, running)
        async with asyncio.timeout(TIMEOUT):
            await stop(running)

    asyncio.run(rest_and_stop())
