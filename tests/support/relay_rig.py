"""Relays on a real database, and fake Temporal clients. No tests here."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database
from octy_middleware.domain import outbox
from octy_worker.mail.alert_priority import AlertsInProgress
from octy_worker.outbox.relay import DeliveryCounts, Relay
from support.until import until_async
from support.world import World


class FakeClock:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class RecordingClient:
    """A Temporal client that records what it would start; `errors` are the errors it raises, by workflow id."""

    def __init__(self) -> None:
        self.started: list[tuple] = []
        self.errors: dict[str, Exception] = {}

    async def start_workflow(self, run, argument, *, id, start_signal=None, start_signal_args=(), **options):  # noqa: A002
        if id in self.errors:
            raise self.errors[id]
        self.started.append((run, argument, id, start_signal, list(start_signal_args)))
        self.options = options

    @property
    def ids(self) -> list[str]:
        return [started[2] for started in self.started]


class IgnoredAlerts(AlertsInProgress):
    """Alerts that delay nothing: no worker here sends them, and each would delay other messages by its timeout."""

    def begin(self, incident_id: str) -> None:
        pass


def relay(
    world: World,
    client: object,
    clock: Callable[[], float] = time.time,
    database: Database | None = None,
    **options: object,
) -> Relay:
    """Return a relay that delivers notices at any rate; `database` is the world's by default."""
    settings = world.worker_settings(**options)
    database = database or world.database
    return Relay(database, client, settings, clock, alerts=IgnoredAlerts(), notice_interval=0)  # type: ignore[arg-type]


def deliver(world: World, client: object, clock: Callable[[], float] | None = None) -> DeliveryCounts:
    """Have a relay deliver what it may take; each call is another relay.

    The clock stands still unless one is passed: no failed message is due again in the same call, however slow it is.
    """
    return asyncio.run(relay(world, client, clock or FakeClock()).deliver_pending())


def put(world: World, event: str, subject: str, **detail: object) -> int:
    with world.database.write() as connection:
        outbox.enqueue(connection, event, subject, time.time(), detail)  # type: ignore[arg-type]
        return connection.exec_driver_sql("SELECT MAX(id) FROM outbox").scalar_one()


def put_all(world: World, messages: Sequence[tuple[str, str, Mapping[str, object]]]) -> None:
    """Enqueue messages with their subjects and details in one transaction."""
    with world.database.write() as connection:
        for event, subject, detail in messages:
            outbox.enqueue(connection, event, subject, time.time(), detail)  # type: ignore[arg-type]


def change(world: World, statement: str, *values: object) -> None:
    with world.database.write() as connection:
        run(connection, statement, *values)


def row(world: World, number: int) -> tuple:
    """Return whether a message is delivered, its number of attempts, and its last error."""
    [found] = world.rows(
        "SELECT delivered_at IS NOT NULL, delivery_attempts, last_error FROM outbox WHERE id = :id", id=number
    )
    return found


def undelivered(world: World) -> int:
    return world.rows("SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL")[0][0]


def rpc_error(status: RPCStatusCode) -> RPCError:
    return RPCError("ann@customer.example is not known here", status, b"")


async def until_undelivered(world: World, count: int, *running: asyncio.Task[None]) -> None:
    """Wait until so many outbox messages are undelivered; none of the running tasks may end before."""

    def reached() -> bool:
        assert not any(task.done() for task in running), running
        return undelivered(world) == count

    await until_async(reached)


async def stop(*running: asyncio.Task[None]) -> None:
    for task in running:
        task.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError] * len(running), ended
