"""Several relays and one outbox: each message once, in its subject's order, none lost when a relay dies."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
from support.databases import DATABASES
from support.paths import TESTS
from support.relay_rig import (
    FakeClock,
    RecordingClient,
    change,
    deliver,
    put,
    put_all,
    relay,
    row,
    rpc_error,
    stop,
    until_undelivered,
)
from support.temporal import Temporal, open_temporal
from support.world import INSTALLATION, World
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from octy_middleware.db.database import Database
from octy_middleware.domain.outbox import MessageKind
from octy_worker.outbox.relay import DeliveryCounts, Relay
from octy_workflows.messages import Signal

SIGNALS = {
    MessageKind.INCIDENT_GREW: Signal.FAILURES_INCREASED,
    MessageKind.INCIDENT_ANSWERED: Signal.CUSTOMER_ANSWERED,
    MessageKind.INCIDENT_CHANGED: Signal.ANSWER_AMENDED,
    MessageKind.REGENERATION_FINISHED: Signal.REGENERATION_FINISHED,
}
DETAILS: dict[MessageKind, dict[str, object]] = {event: {} for event in SIGNALS}
_GREW, _ANSWERED, _CHANGED, _FINISHED = SIGNALS
ORDER = (_GREW, _ANSWERED, _CHANGED, _GREW, _FINISHED, _GREW, _CHANGED, _ANSWERED, _FINISHED, _GREW)
"""Of one subject's messages, whose priorities differ."""
LEASE = 30.0


class ConcurrentClient(RecordingClient):
    """A client that returns from its first call only when all other clients were called, too."""

    def __init__(self, colleagues: list["ConcurrentClient"], everybody: asyncio.Event) -> None:
        super().__init__()
        self._colleagues = colleagues
        self._everybody = everybody
        colleagues.append(self)

    async def start_workflow(self, *given, **options):
        await super().start_workflow(*given, **options)
        if all(each.started for each in self._colleagues):
            self._everybody.set()
        await self._everybody.wait()


class SlowClient(RecordingClient):
    """A slow client that records concurrent calls for one subject."""

    def __init__(self, busy: Counter[str], started: list[tuple]) -> None:
        super().__init__()
        self.busy = busy
        self.started = started

    async def start_workflow(self, *given, id, **options):  # noqa: A002
        self.busy[id] += 1
        assert self.busy[id] == 1, f"two relays deliver to {id} at a time"
        await asyncio.sleep(0.001 * (len(self.started) % 5))
        await super().start_workflow(*given, id=id, **options)
        self.busy[id] -= 1


class BlockedClient(RecordingClient):
    """A client that does not return for one subject until it is released."""

    def __init__(self, subject: str) -> None:
        super().__init__()
        self.subject = subject
        self.reached = asyncio.Event()
        self.free = asyncio.Event()

    async def start_workflow(self, *given, id, **options):  # noqa: A002
        if id == self.subject:
            self.reached.set()
            await self.free.wait()
        await super().start_workflow(*given, id=id, **options)


@asynccontextmanager
async def relays(world: World, clients: Sequence[object]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run a relay for each client, each with its own connections as in a process of its own."""
    databases = [Database(world.url) for _ in clients]
    running = [
        asyncio.create_task(relay(world, client, FakeClock(), database, relay_poll_interval=0.05).run())
        for database, client in zip(databases, clients, strict=True)
    ]
    yield running
    await stop(*running)
    for database in databases:
        database.close()


# Each message once


def test_relays_share_the_messages_and_each_is_delivered_once(world: World) -> None:
    async def share() -> list[ConcurrentClient]:
        clients: list[ConcurrentClient] = []
        everybody = asyncio.Event()
        for _ in range(4):
            ConcurrentClient(clients, everybody)
        async with relays(world, clients) as running:
            await until_undelivered(world, 0, *running)
        return clients

    put_all(world, [(MessageKind.INCIDENT_OPENED, f"i{number}", {}) for number in range(200)])
    clients = asyncio.run(share())
    assert Counter(name for client in clients for name in client.ids) == {
        f"octy-{INSTALLATION}-incident-i{n}": 1 for n in range(200)
    }
    assert all(client.started for client in clients)
    assert world.rows("SELECT DISTINCT delivery_attempts, last_error, leased_by, leased_until FROM outbox") == [
        (1, "", "", None)
    ]


def test_messages_of_a_subject_stay_in_order_across_relays(world: World) -> None:
    async def share() -> list[tuple]:
        busy: Counter[str] = Counter()
        started: list[tuple] = []
        async with relays(world, [SlowClient(busy, started) for _ in range(4)]) as running:
            await until_undelivered(world, 0, *running)
        return started

    put_all(world, [(event, f"i{subject}", DETAILS[event]) for event in ORDER for subject in range(5)])
    started = asyncio.run(share())
    for subject in range(5):
        told = [signal for _, _, name, signal, _ in started if name == f"octy-{INSTALLATION}-incident-i{subject}"]
        assert told == [str(SIGNALS[event]) for event in ORDER]
    assert world.rows("SELECT DISTINCT delivery_attempts, last_error FROM outbox") == [(1, "")]


def test_subject_without_a_response_blocks_no_other(world: World) -> None:
    async def share() -> list[str]:
        stuck = BlockedClient(f"octy-{INSTALLATION}-incident-stuck")
        async with relays(world, [stuck]) as running:
            await until_undelivered(world, 2, *running)
            started = stuck.ids
            stuck.free.set()
            await until_undelivered(world, 0, *running)
        assert stuck.ids[-2:] == [f"octy-{INSTALLATION}-incident-stuck"] * 2
        return started

    put(world, MessageKind.INCIDENT_OPENED, "stuck")
    put(world, MessageKind.INCIDENT_GREW, "stuck", failures=40)
    put_all(world, [(MessageKind.INCIDENT_OPENED, f"i{number}", {}) for number in range(100)])
    assert sorted(asyncio.run(share())) == sorted(f"octy-{INSTALLATION}-incident-i{number}" for number in range(100))


# Relays that end


async def _abandon(relay_: Relay, client: BlockedClient) -> None:
    """Let a relay lease and call, and then do nothing more, not even release its leases."""
    asyncio.get_running_loop().create_task(relay_.deliver_pending())
    await client.reached.wait()


def test_messages_of_a_dead_relay_are_delivered_after_its_lease(world: World) -> None:
    first = put(world, MessageKind.INCIDENT_OPENED, "i1")
    clock, stuck = FakeClock(), BlockedClient(f"octy-{INSTALLATION}-incident-i1")
    asyncio.run(_abandon(relay(world, stuck, clock), stuck))
    put(world, MessageKind.INCIDENT_GREW, "i1", failures=40)
    put(world, MessageKind.INCIDENT_OPENED, "i2")
    temporal_client = RecordingClient()
    assert deliver(world, temporal_client, clock) == DeliveryCounts(1, 0)
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i2"]
    clock.now += LEASE - 0.01
    assert deliver(world, temporal_client, clock) == DeliveryCounts(0, 0)
    clock.now += 0.01
    assert deliver(world, temporal_client, clock) == DeliveryCounts(2, 0)
    assert [started[3] for started in temporal_client.started] == [None, None, "failures_increased"]
    assert row(world, first) == (True, 1, "")


def test_messages_of_a_killed_process_are_delivered_after_its_lease(tmp_path: Path) -> None:
    """One process with a relay for each kind of database: it takes most of the time to start."""
    with ExitStack() as closed_at_the_end:
        worlds = []
        for kind in DATABASES:
            (tmp_path / kind).mkdir()
            worlds.append(closed_at_the_end.enter_context(closing(World(tmp_path / kind, kind))))
            put(worlds[-1], MessageKind.INCIDENT_OPENED, f"of-{kind}")
        victim = [sys.executable, str(TESTS / "support" / "relay_victim.py"), *(world.url for world in worlds)]
        with subprocess.Popen(victim, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = {process.stdout.readline() for _ in worlds}
            process.kill()
        assert told == {f"octy-{INSTALLATION}-incident-of-{kind}\n" for kind in DATABASES}
        for world in worlds:
            _deliver_after_lease(world, process.pid)


def _deliver_after_lease(world: World, killed: int) -> None:
    """Deliver the message that the killed process has leased: not before its lease ends."""
    [(holder,)] = world.rows("SELECT leased_by FROM outbox")
    assert f":{killed}:" in holder
    temporal_client, clock = RecordingClient(), FakeClock()
    assert deliver(world, temporal_client, clock) == DeliveryCounts(0, 0)
    clock.now += LEASE
    assert deliver(world, temporal_client, clock) == DeliveryCounts(1, 0)
    assert world.rows("SELECT leased_by, leased_until FROM outbox") == [("", None)]


def test_stopped_relay_releases_its_leases_at_once(world: World) -> None:
    async def begin_and_stop() -> None:
        stuck = BlockedClient(f"octy-{INSTALLATION}-incident-i1")
        async with relays(world, [stuck]):
            await stuck.reached.wait()

    put(world, MessageKind.INCIDENT_OPENED, "i1")
    asyncio.run(begin_and_stop())
    assert world.rows("SELECT leased_by, leased_until, delivery_attempts FROM outbox") == [("", None, 0)]
    assert deliver(world, RecordingClient()) == DeliveryCounts(1, 0)


def test_relay_without_temporal_leaves_messages_to_the_others(world: World) -> None:
    put(world, MessageKind.INCIDENT_OPENED, "i1")
    cut_off, temporal_client = RecordingClient(), RecordingClient()
    cut_off.errors[f"octy-{INSTALLATION}-incident-i1"] = rpc_error(RPCStatusCode.UNAVAILABLE)

    async def share() -> None:
        async with relays(world, [cut_off, temporal_client]) as running:
            await until_undelivered(world, 0, *running)

    asyncio.run(share())
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i1"]


def test_relay_with_a_fast_clock_causes_at_most_a_second_delivery(world: World) -> None:
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    ahead, stuck, temporal_client = FakeClock(), BlockedClient(f"octy-{INSTALLATION}-incident-i1"), RecordingClient()
    ahead.now += LEASE + 1

    async def overlap() -> tuple[DeliveryCounts, DeliveryCounts]:
        slow = asyncio.create_task(relay(world, stuck, FakeClock()).deliver_pending())
        await stuck.reached.wait()
        second = await relay(world, temporal_client, ahead).deliver_pending()
        stuck.free.set()
        return await slow, second

    assert asyncio.run(overlap()) == (DeliveryCounts(1, 0), DeliveryCounts(1, 0))
    assert stuck.ids == temporal_client.ids
    assert row(world, number) == (True, 1, "")


def test_error_after_a_lost_lease_counts_as_no_attempt(world: World) -> None:
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    clock, stuck = FakeClock(), BlockedClient(f"octy-{INSTALLATION}-incident-i1")
    stuck.errors[f"octy-{INSTALLATION}-incident-i1"] = rpc_error(RPCStatusCode.INVALID_ARGUMENT)

    async def lose() -> None:
        late = asyncio.create_task(relay(world, stuck, clock).deliver_pending())
        await stuck.reached.wait()
        change(world, "UPDATE outbox SET leased_by = 'another'")
        stuck.free.set()
        await late

    asyncio.run(lose())
    assert row(world, number) == (False, 0, "")


# On a real server


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


async def _signals(client: Client, workflow_id: str) -> list[str]:
    """Return the signals that a workflow was sent, in the order of its history."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in history.events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]


def test_two_relays_with_a_real_server_deliver_each_signal_once_in_order(world: World, temporal: Temporal) -> None:
    subjects = [f"{world.database_kind}-{number}" for number in range(8)]
    put_all(world, [(event, subject, DETAILS[event]) for event in ORDER[:4] for subject in subjects])

    async def share() -> list[list[str]]:
        async with relays(world, [temporal.client] * 2) as running:
            await until_undelivered(world, 0, *running)
        return [await _signals(temporal.client, f"octy-{INSTALLATION}-incident-{subject}") for subject in subjects]

    assert temporal.run(share()) == [[str(SIGNALS[event]) for event in ORDER[:4]]] * len(subjects)
