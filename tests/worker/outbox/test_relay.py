"""The relay: which errors delay which messages. Several relays: `test_relay_sharing`."""

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest
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
from support.until import until_async
from support.world import INSTALLATION, World
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.db.database import Database
from octy_middleware.domain.outbox import MessageKind
from octy_middleware.errors import DatabaseUnavailableError
from octy_worker.outbox import relay as relaying
from octy_worker.outbox.leases import Leases
from octy_worker.outbox.relay import DeliveryCounts

PAUSES = [0.5, 1, 2, 4]  # seconds between the attempts of a message that is at fault
_STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


class SilentClient:
    """A client whose server never answers."""

    waited = 0.0

    async def start_workflow(self, *_given, **_options):
        begun = time.monotonic()
        try:
            await asyncio.Event().wait()
        finally:
            self.waited = time.monotonic() - begun


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


def test_relay_delivers_messages_once_oldest_first(world: World) -> None:
    for number in (3, 1, 2):
        put(world, MessageKind.INCIDENT_OPENED, f"i{number}")
    temporal_client = RecordingClient()
    assert asyncio.run(relay(world, temporal_client, relay_concurrency=1).deliver_pending()) == DeliveryCounts(3, 0)
    assert temporal_client.ids == [
        f"octy-{INSTALLATION}-incident-i3",
        f"octy-{INSTALLATION}-incident-i1",
        f"octy-{INSTALLATION}-incident-i2",
    ]
    assert deliver(world, temporal_client) == DeliveryCounts(0, 0)


def test_message_to_a_completed_workflow_counts_as_delivered(world: World) -> None:
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    temporal_client = RecordingClient()
    temporal_client.errors[f"octy-{INSTALLATION}-incident-i1"] = WorkflowAlreadyStartedError(
        f"octy-{INSTALLATION}-incident-i1", "KeyIncidentWorkflow"
    )
    assert deliver(world, temporal_client) == DeliveryCounts(1, 0)
    assert row(world, number) == (True, 1, "")


# Failing messages

POISON = [
    ("no_such_event", {}, "ValueError"),
    (MessageKind.WEBHOOK_DUE, {}, "KeyError"),
    (MessageKind.WEBHOOK_DUE, {"order": "ann@customer.example"}, "ValueError"),
    (MessageKind.REGENERATION_OPENED, {}, "NoResultFound"),
    (MessageKind.NOTICE_CREATED, {}, "NoResultFound"),
]


def test_failing_messages_block_no_other_and_are_dead_letters_after_five_attempts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {put(world, event, f"none-{n}", **detail): fault for n, (event, detail, fault) in enumerate(POISON)}
    good = put(world, MessageKind.INCIDENT_OPENED, "i1")
    temporal_client, clock = RecordingClient(), FakeClock()
    assert deliver(world, temporal_client, clock) == DeliveryCounts(1, len(bad))
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i1"]
    assert row(world, good) == (True, 1, "")
    assert {number: row(world, number) for number in bad} == {n: (False, 1, fault) for n, fault in bad.items()}
    for pause in PAUSES:
        clock.now += pause - 0.01
        assert deliver(world, temporal_client, clock) == DeliveryCounts(0, 0)
        clock.now += 0.01
        assert deliver(world, temporal_client, clock) == DeliveryCounts(0, len(bad))
    clock.now += 3600
    assert deliver(world, temporal_client, clock) == DeliveryCounts(0, 0)
    assert {number: row(world, number) for number in bad} == {n: (False, 5, fault) for n, fault in bad.items()}
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == len(bad)
    for number, fault in bad.items():
        [line] = [line for line in told if f"message {number} " in line]
        assert f"`octy outbox retry {number}`" in line
        assert fault in line
    assert "ann@customer.example" not in caplog.text


def test_failing_message_blocks_its_own_subject_until_it_is_a_dead_letter(world: World) -> None:
    bad = put(world, MessageKind.WEBHOOK_DUE, "i1")
    put(world, MessageKind.INCIDENT_GREW, "i1", failures=40)
    temporal_client, clock = RecordingClient(), FakeClock()
    for _ in range(4):
        assert deliver(world, temporal_client, clock) == DeliveryCounts(0, 1)
        clock.now += PAUSES[-1]
    assert temporal_client.started == []
    assert deliver(world, temporal_client, clock) == DeliveryCounts(1, 1)
    assert [started[3] for started in temporal_client.started] == ["failures_increased"]
    assert row(world, bad) == (False, 5, "KeyError")


@pytest.mark.sqlite
def test_unreadable_message_blocks_no_other(world: World) -> None:
    """A server's column takes nothing but JSON."""
    bad = put(world, MessageKind.INCIDENT_OPENED, "i0")
    put(world, MessageKind.INCIDENT_OPENED, "i1")
    change(world, "UPDATE outbox SET detail = 'no JSON' WHERE id = ?", bad)
    temporal_client = RecordingClient()
    assert deliver(world, temporal_client) == DeliveryCounts(1, 1)
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i1"]
    assert row(world, bad) == (False, 1, "JSONDecodeError")


def test_message_detail_that_is_no_object_fails(world: World) -> None:
    bad = put(world, MessageKind.WEBHOOK_DUE, "i0")
    change(world, "UPDATE outbox SET detail = '[1]'")
    assert deliver(world, RecordingClient()) == DeliveryCounts(0, 1)
    assert row(world, bad) == (False, 1, "TypeError")


# Outages

OF_THE_MESSAGE = {
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.ALREADY_EXISTS,
    RPCStatusCode.OUT_OF_RANGE,
    RPCStatusCode.DATA_LOSS,
}


def test_temporal_error_about_one_message_counts_as_its_attempt(world: World) -> None:
    temporal_client, bad = RecordingClient(), {}
    for status in sorted(OF_THE_MESSAGE):
        bad[put(world, MessageKind.INCIDENT_OPENED, status.name)] = (False, 1, f"RPCError {status.name}")
        temporal_client.errors[f"octy-{INSTALLATION}-incident-{status.name}"] = rpc_error(status)
    good = put(world, MessageKind.INCIDENT_OPENED, "i1")
    assert deliver(world, temporal_client) == DeliveryCounts(1, len(bad))
    assert {number: row(world, number) for number in bad} == bad
    assert row(world, good) == (True, 1, "")


def test_outage_of_temporal_counts_as_no_attempt(world: World) -> None:
    for status in sorted(set(RPCStatusCode) - OF_THE_MESSAGE - {RPCStatusCode.OK}):
        first, second = (put(world, MessageKind.INCIDENT_OPENED, f"{status.name}-{number}") for number in range(2))
        names = [f"octy-{INSTALLATION}-incident-{status.name}-{number}" for number in range(2)]
        temporal_client = RecordingClient()
        temporal_client.errors = {name: rpc_error(status) for name in names}
        for _ in range(2):  # an attempt more or less would be seen at once
            with pytest.raises(RPCError):
                deliver(world, temporal_client)
        told = f"RPCError {status.name}"
        assert {row(world, first), row(world, second)} <= {(False, 0, told), (False, 0, "")}
        assert told in {row(world, first)[2], row(world, second)[2]}
        temporal_client.errors.clear()
        assert deliver(world, temporal_client) == DeliveryCounts(2, 0)
        assert sorted(temporal_client.ids) == names


def test_outage_of_temporal_stops_starting_further_messages(world: World) -> None:
    numbers = [put(world, MessageKind.INCIDENT_OPENED, f"i{number}") for number in range(20)]
    temporal_client = RecordingClient()
    temporal_client.errors = {
        f"octy-{INSTALLATION}-incident-i{number}": rpc_error(RPCStatusCode.UNAVAILABLE) for number in range(20)
    }
    with pytest.raises(RPCError):
        asyncio.run(relay(world, temporal_client, relay_concurrency=3).deliver_pending())
    told = [row(world, number)[2] for number in numbers]
    assert 1 <= told.count("RPCError UNAVAILABLE") <= 3
    assert told.count("") == 20 - told.count("RPCError UNAVAILABLE")


def test_outage_lets_a_delivery_under_way_finish_and_starts_no_other(world: World) -> None:
    ill = put(world, MessageKind.INCIDENT_OPENED, "ill")
    slow = put(world, MessageKind.INCIDENT_OPENED, "slow")

    class SlowClient(RecordingClient):
        async def start_workflow(self, run, argument, *, id, **options):  # noqa: A002
            if id.endswith("slow"):
                await until_async(lambda: row(world, ill)[2] != "")
            await super().start_workflow(run, argument, id=id, **options)

    client = SlowClient()
    client.errors[f"octy-{INSTALLATION}-incident-ill"] = rpc_error(RPCStatusCode.UNAVAILABLE)
    with pytest.raises(RPCError):
        asyncio.run(relay(world, client, relay_poll_interval=0.05).deliver_pending())
    assert (row(world, ill), row(world, slow)) == ((False, 0, "RPCError UNAVAILABLE"), (True, 1, ""))


@pytest.mark.sqlite
def test_relay_stops_although_the_database_is_locked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    other = Database(world.url)

    async def play() -> None:
        running = asyncio.create_task(relay(world, RecordingClient()).run())
        await until_undelivered(world, 0, running)
        with other.write():
            await stop(running)

    put(world, MessageKind.INCIDENT_OPENED, "i1")
    asyncio.run(play())
    other.close()
    assert "leases not released, they expire by themselves" in caplog.text


def test_unavailable_error_of_one_message_delays_others_by_one_round_at_most(world: World) -> None:
    ill = put(world, MessageKind.INCIDENT_OPENED, "ill")
    put_all(world, [(MessageKind.INCIDENT_OPENED, f"i{number}", {}) for number in range(8)])
    temporal_client = RecordingClient()
    temporal_client.errors[f"octy-{INSTALLATION}-incident-ill"] = rpc_error(RPCStatusCode.INTERNAL)
    for _ in range(8):
        with pytest.raises(RPCError):
            asyncio.run(relay(world, temporal_client, relay_concurrency=3).deliver_pending())
    assert len(set(temporal_client.ids)) == len(temporal_client.ids) == 8
    assert row(world, ill) == (False, 0, "RPCError INTERNAL")


def test_unavailable_database_counts_as_no_attempt(world: World) -> None:
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    temporal_client = RecordingClient()
    temporal_client.errors[f"octy-{INSTALLATION}-incident-i1"] = DatabaseUnavailableError("locked")
    with pytest.raises(DatabaseUnavailableError):
        deliver(world, temporal_client)
    assert row(world, number) == (False, 0, "DatabaseUnavailableError")


def test_delivery_without_a_response_times_out_well_before_the_lease_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert relaying.DELIVERY_SHARE <= 0.75
    monkeypatch.setattr(relaying, "DELIVERY_SHARE", 0.05)
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    silent_client = SilentClient()
    with pytest.raises(TimeoutError):
        asyncio.run(relay(world, silent_client, relay_lease=10).deliver_pending())
    assert 0 < silent_client.waited < 7.5
    assert row(world, number) == (False, 0, "TimeoutError")
    assert deliver(world, RecordingClient()) == DeliveryCounts(1, 0)


@pytest.mark.parametrize("trouble", [rpc_error(RPCStatusCode.UNAVAILABLE), ValueError("ann@customer.example")])
def test_relay_continues_after_any_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    """One round fails as a whole; the next one, after a pause, delivers."""
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    temporal_client, troubles, take = RecordingClient(), [trouble], Leases.take

    def trip(self: Leases, *given: object) -> object:
        if troubles:
            raise troubles.pop()
        return take(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Leases, "take", trip)
    asyncio.run(_until_delivered(world, temporal_client))
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i1"]
    assert row(world, number) == (True, 1, "")
    assert "next try in 0.5 s" in caplog.text
    assert ("ann@customer.example" in caplog.text) is isinstance(trouble, RPCError)  # what Temporal itself says is told


def test_delivery_during_a_database_outage_is_recorded_later_and_not_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    temporal_client, troubles, take = RecordingClient(), [DatabaseUnavailableError("away")], Leases.take

    def trip(self: Leases, ends: list, limit: int) -> object:
        if ends and troubles:
            raise troubles.pop()
        return take(self, ends, limit)

    monkeypatch.setattr(Leases, "take", trip)
    asyncio.run(_until_delivered(world, temporal_client))
    assert temporal_client.ids == [f"octy-{INSTALLATION}-incident-i1"]
    assert not troubles
    assert row(world, number) == (True, 1, "")


async def _until_delivered(world: World, temporal_client: RecordingClient) -> None:
    running = asyncio.create_task(relay(world, temporal_client).run())
    await until_undelivered(world, 0, running)
    await stop(running)


# On a real server


async def _history(client: Client, workflow_id: str) -> list[str]:
    """Return what the workflow was told, in order: "start" and names of signals."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    names = [
        "start" if event.event_type == _STARTED else event.workflow_execution_signaled_event_attributes.signal_name
        for event in history.events
        if event.event_type in (_STARTED, _SIGNALED)
    ]
    return sorted(names, key="start".__ne__)  # with signal-with-start the server writes both down at once


async def _runs(client: Client, workflow_id: str) -> set[str]:
    described = await client.get_workflow_handle(workflow_id).describe()
    return {described.run_id}


@pytest.mark.parametrize("event", [MessageKind.INCIDENT_OPENED, MessageKind.INCIDENT_GREW])
def test_message_delivered_twice_starts_one_workflow(world: World, temporal: Temporal, event) -> None:
    incident_id = f"twice-{world.database_kind}-{event}"
    name = f"octy-{INSTALLATION}-incident-{incident_id}"
    put(world, MessageKind.INCIDENT_OPENED, incident_id)
    put(world, MessageKind.INCIDENT_GREW, incident_id, failures=40)
    put(world, MessageKind.INCIDENT_ANSWERED, incident_id, answer="not_us", leaked=True)
    runs = relay(world, temporal.client)
    assert temporal.run(runs.deliver_pending()) == DeliveryCounts(3, 0)
    first = temporal.run(_runs(temporal.client, name))
    assert temporal.run(_history(temporal.client, name)) == ["start", "failures_increased", "customer_answered"]
    # As after a crash between the call and the commit.
    change(world, "UPDATE outbox SET delivered_at = NULL WHERE kind = ?", str(event))
    assert temporal.run(runs.deliver_pending()) == DeliveryCounts(1, 0)
    again = {MessageKind.INCIDENT_OPENED: [], MessageKind.INCIDENT_GREW: ["failures_increased"]}[event]
    told = temporal.run(_history(temporal.client, name))
    assert told == ["start", "failures_increased", "customer_answered", *again]
    assert temporal.run(_runs(temporal.client, name)) == first


@pytest.mark.parametrize(
    ("event", "detail"), [(MessageKind.INCIDENT_OPENED, {}), (MessageKind.INCIDENT_GREW, {"failures": 80})]
)
def test_completed_workflow_is_not_started_again(world: World, temporal: Temporal, event, detail) -> None:
    incident_id = f"ended-{world.database_kind}-{event}"
    name = f"octy-{INSTALLATION}-incident-{incident_id}"
    put(world, MessageKind.INCIDENT_OPENED, incident_id)
    runs = relay(world, temporal.client)
    temporal.run(runs.deliver_pending())
    temporal.run(temporal.client.get_workflow_handle(name).terminate())
    before = temporal.run(_runs(temporal.client, name))
    number = put(world, event, incident_id, **detail)
    assert temporal.run(runs.deliver_pending()) == DeliveryCounts(1, 0)
    assert row(world, number) == (True, 1, "")
    assert temporal.run(_runs(temporal.client, name)) == before


def test_incident_whose_start_is_a_dead_letter_starts_with_its_next_message(world: World, temporal: Temporal) -> None:
    subject = f"aside-{world.database_kind}"
    put(world, MessageKind.INCIDENT_OPENED, subject)
    change(world, "UPDATE outbox SET delivery_attempts = 5")
    put(world, MessageKind.INCIDENT_GREW, subject, failures=40)
    assert temporal.run(relay(world, temporal.client).deliver_pending()) == DeliveryCounts(1, 0)
    assert temporal.run(_history(temporal.client, f"octy-{INSTALLATION}-incident-{subject}")) == [
        "start",
        "failures_increased",
    ]


@pytest.mark.sqlite
def test_message_rejected_by_temporal_does_not_stop_the_next(world: World, temporal: Temporal) -> None:
    """A server's column would take no such id."""
    bad, good = put(world, MessageKind.INCIDENT_OPENED, "x" * 2000), put(world, MessageKind.INCIDENT_OPENED, "taken")
    assert temporal.run(relay(world, temporal.client, FakeClock()).deliver_pending()) == DeliveryCounts(1, 1)
    assert row(world, bad) == (False, 1, "RPCError INVALID_ARGUMENT")
    assert row(world, good) == (True, 1, "")


def test_missing_namespace_loses_no_message(world: World, temporal: Temporal) -> None:
    number = put(world, MessageKind.INCIDENT_OPENED, "i1")
    nowhere = temporal.run(Client.connect(temporal.address, namespace="nowhere"))
    with pytest.raises(RPCError):
        temporal.run(relay(world, nowhere).deliver_pending())
    assert row(world, number) == (False, 0, "RPCError NOT_FOUND")
