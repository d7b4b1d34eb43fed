"""The one door to Temporal: what each message becomes, what holds the others back and what does not."""

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest
from support.temporal import Temporal, open_temporal
from support.world import World
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware import outbox
from octy_middleware.errors import StoreUnavailableError
from octy_middleware.notices import give
from octy_middleware.outbox import Event
from octy_middleware.states import Cause, NoticeKind
from octy_worker import regenerations
from octy_worker.relay import Relay, Round
from octy_worker.settings import WorkerSettings
from octy_workflows import messages
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import CustomerAnswer, Growth, IncidentCase, NoticeCase, RegenerationCase, RegenerationEnd
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.staff import Choice

NOW = time.time()
_STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


class Ear:
    """A client that hears what would be started; `says` are the errors it raises, by workflow id."""

    def __init__(self) -> None:
        self.heard: list[tuple] = []
        self.says: dict[str, Exception] = {}

    async def start_workflow(self, run, argument, *, id, start_signal=None, start_signal_args=(), **options):  # noqa: A002
        if id in self.says:
            raise self.says[id]
        self.heard.append((run, argument, id, start_signal, list(start_signal_args)))
        self.options = options

    @property
    def ids(self) -> list[str]:
        return [heard[2] for heard in self.heard]


def settings(world: World, **options: object) -> WorkerSettings:
    keys = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": world.peppers}
    return WorkerSettings(database_url=world.url, **keys, **options)  # type: ignore[arg-type]


def relay(world: World, client: object, **options: object) -> Relay:
    return Relay(world.database, client, settings(world, **options), lambda: NOW)  # type: ignore[arg-type]


def deliver(world: World, client: object) -> Round:
    return asyncio.run(relay(world, client).deliver_some())


def put(world: World, event: str, subject: str, **detail: object) -> int:
    with world.database.write() as connection:
        outbox.put(connection, event, subject, NOW, detail)  # type: ignore[arg-type]
        return connection.exec_driver_sql("SELECT MAX(id) FROM outbox").scalar_one()


def row(world: World, number: int) -> tuple:
    """Return whether a message is delivered, how often it was tried, and its fault."""
    [found] = world.rows("SELECT delivered_at IS NOT NULL, tries, last_error FROM outbox WHERE id = :id", id=number)
    return found


def rpc_error(status: RPCStatusCode) -> RPCError:
    return RPCError("ann@customer.example is not known here", status, b"")


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


# What each message becomes

MEANINGS = [
    (Event.INCIDENT_OPENED, {}, None, []),
    (Event.INCIDENT_GREW, {"failures": 40}, "attempts_grew", [Growth(40)]),
    (
        Event.INCIDENT_ANSWERED,
        {"answer": "not_us", "leaked": True},
        "customer_answered",
        [CustomerAnswer(Choice.REGENERATE, leaked=True)],
    ),
    (
        Event.INCIDENT_ANSWERED,
        {"answer": "it_was_us", "leaked": False},
        "customer_answered",
        [CustomerAnswer(Choice.DISMISS)],
    ),
    (
        Event.REGENERATION_FINISHED,
        {"regeneration_id": "r1", "state": "done"},
        "regeneration_finished",
        [RegenerationEnd("r1", "done")],
    ),
    (Event.REGENERATION_OPENED, {}, None, []),
    (Event.REGENERATION_COLLECTED, {}, "keys_collected", []),
    (Event.REGENERATION_SUPERSEDED, {}, "superseded", []),
    (Event.NOTICE_GIVEN, {}, None, []),
]


def test_every_event_has_a_meaning() -> None:
    assert {event for event, *_ in MEANINGS} == set(Event)


def addressed(world: World, event: Event) -> tuple:
    """Return the workflow that an event is for: its class, its id, its subject and its input."""
    known, keys = settings(world), world.register()
    if event is Event.NOTICE_GIVEN:
        with world.database.write() as connection:
            notice = give(connection, NoticeKind.EXPOSED, keys.account_id, NOW, {})
        case = NoticeCase(notice, messages.NoticeKind.EXPOSED, known.incident_close_after)
        return KeyNoticeWorkflow, f"octy-notice-{notice}", notice, case
    if event.startswith("regeneration_") and event is not Event.REGENERATION_FINISHED:
        subject = keys.regeneration_id
        new = RegenerationCase(subject, leaked=False, replaces=False, times=known.regeneration_times)
        return KeyRegenerationWorkflow, f"octy-regeneration-{subject}", subject, new
    return KeyIncidentWorkflow, "octy-incident-i1", "i1", IncidentCase("i1", known.incident_times)


@pytest.mark.parametrize(("event", "detail", "signal", "content"), MEANINGS)
def test_a_message_starts_its_workflow_and_brings_its_signal(world: World, event, detail, signal, content) -> None:
    room, name, subject, case = addressed(world, event)
    with world.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM outbox")
    number = put(world, event, subject, **detail)
    ear = Ear()
    assert deliver(world, ear) == Round(1, 0)
    assert ear.heard == [(room.run, case, name, signal, content)]
    assert signal is None or signal in workflow._Definition.must_from_class(room).signals
    assert ear.options == {
        "task_queue": "octy",
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
    }
    assert row(world, number) == (True, 1, "")


def test_a_regeneration_starts_with_what_its_row_says(world: World) -> None:
    keys = world.register()
    with world.database.write_session() as session:
        old = regenerations.current_pair(session, keys.account_id)
        opened = regenerations.open_regeneration(
            session, keys.account_id, Cause.STAFF, old_pair_id=old.id, leaked=True, actor="ann", now=NOW
        )
    ear = Ear()
    deliver(world, ear)
    [case] = {argument for _, argument, *_ in ear.heard if argument.regeneration_id == opened.regeneration_id}
    assert (case.leaked, case.replaces) == (True, True)


def test_messages_go_out_in_their_order_and_once(world: World) -> None:
    for number in (3, 1, 2):
        put(world, Event.INCIDENT_OPENED, f"i{number}")
    ear = Ear()
    assert deliver(world, ear) == Round(3, 0)
    assert ear.ids == ["octy-incident-i3", "octy-incident-i1", "octy-incident-i2"]
    assert deliver(world, ear) == Round(0, 0)


def test_a_message_to_a_workflow_that_has_ended_is_delivered(world: World) -> None:
    number = put(world, Event.INCIDENT_OPENED, "i1")
    ear = Ear()
    ear.says["octy-incident-i1"] = WorkflowAlreadyStartedError("octy-incident-i1", "KeyIncidentWorkflow")
    assert deliver(world, ear) == Round(1, 0)
    assert row(world, number) == (True, 1, "")


# Messages that are at fault

POISON = [
    ("no_such_event", {}, "ValueError"),
    (Event.INCIDENT_GREW, {}, "KeyError"),
    (Event.INCIDENT_GREW, {"failures": "ann@customer.example"}, "ValueError"),
    (Event.INCIDENT_ANSWERED, {"answer": "perhaps", "leaked": False}, "ValueError"),
    (Event.REGENERATION_OPENED, {}, "NoResultFound"),
    (Event.NOTICE_GIVEN, {}, "NoResultFound"),
]


@pytest.mark.parametrize(("event", "detail", "fault"), POISON)
def test_a_message_at_fault_holds_nothing_back_and_is_set_aside_after_five_tries(
    world: World, caplog: pytest.LogCaptureFixture, event, detail, fault
) -> None:
    bad = put(world, event, "nobody", **detail)
    good = put(world, Event.INCIDENT_OPENED, "i1")
    ear = Ear()
    assert deliver(world, ear) == Round(1, 1)
    assert ear.ids == ["octy-incident-i1"]
    assert (row(world, bad), row(world, good)) == ((False, 1, fault), (True, 1, ""))
    for _ in range(4):
        assert deliver(world, ear) == Round(0, 1)
    for _ in range(2):
        assert deliver(world, ear) == Round(0, 0)
    assert row(world, bad) == (False, 5, fault)
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"message {bad} " in told
    assert fault in told
    assert "ann@customer.example" not in caplog.text


def test_a_message_that_cannot_even_be_read_holds_nothing_back(world: World) -> None:
    bad = put(world, Event.INCIDENT_OPENED, "i0")
    put(world, Event.INCIDENT_OPENED, "i1")
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET detail = 'no JSON' WHERE id = ?", (bad,))
    ear = Ear()
    assert deliver(world, ear) == Round(1, 1)
    assert ear.ids == ["octy-incident-i1"]
    assert row(world, bad) == (False, 1, "JSONDecodeError")


def test_a_message_set_aside_is_tried_again_when_its_row_says_so(world: World) -> None:
    number = put(world, Event.INCIDENT_OPENED, "i1")
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET tries = 5")
    ear = Ear()
    assert deliver(world, ear) == Round(0, 0)
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET tries = 0")
    assert deliver(world, ear) == Round(1, 0)
    assert row(world, number) == (True, 1, "")


# Outages

OF_THE_MESSAGE = {
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.ALREADY_EXISTS,
    RPCStatusCode.OUT_OF_RANGE,
    RPCStatusCode.DATA_LOSS,
}


@pytest.mark.parametrize("status", sorted(OF_THE_MESSAGE))
def test_what_temporal_has_against_one_message_is_that_messages_fault(world: World, status) -> None:
    bad, good = put(world, Event.INCIDENT_OPENED, "i0"), put(world, Event.INCIDENT_OPENED, "i1")
    ear = Ear()
    ear.says["octy-incident-i0"] = rpc_error(status)
    assert deliver(world, ear) == Round(1, 1)
    assert row(world, bad) == (False, 1, f"RPCError {status.name}")
    assert row(world, good) == (True, 1, "")


@pytest.mark.parametrize("status", sorted(set(RPCStatusCode) - OF_THE_MESSAGE - {RPCStatusCode.OK}))
def test_an_outage_holds_all_messages_back_and_is_no_try(world: World, status) -> None:
    first, second = put(world, Event.INCIDENT_OPENED, "i0"), put(world, Event.INCIDENT_OPENED, "i1")
    ear = Ear()
    ear.says["octy-incident-i0"] = rpc_error(status)
    for _ in range(7):
        with pytest.raises(RPCError):
            deliver(world, ear)
    assert row(world, first) == (False, 0, f"RPCError {status.name}")
    assert row(world, second) == (False, 0, "")
    ear.says.clear()
    assert deliver(world, ear) == Round(2, 0)
    assert ear.ids == ["octy-incident-i0", "octy-incident-i1"]


def test_a_store_that_is_away_is_no_try(world: World) -> None:
    number = put(world, Event.INCIDENT_OPENED, "i1")
    ear = Ear()
    ear.says["octy-incident-i1"] = StoreUnavailableError("locked")
    with pytest.raises(StoreUnavailableError):
        deliver(world, ear)
    assert row(world, number) == (False, 0, "StoreUnavailableError")


@pytest.mark.parametrize("trouble", [rpc_error(RPCStatusCode.UNAVAILABLE), ValueError("ann@customer.example")])
def test_the_relay_goes_on_after_whatever_befalls_it(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    """One round fails as a whole; the next one, after a pause, delivers."""
    number = put(world, Event.INCIDENT_OPENED, "i1")
    ear = Ear()
    runs = relay(world, ear, relay_interval=0.01)
    look, troubles = runs._undelivered, [trouble]

    def trip() -> object:
        if troubles:
            raise troubles.pop()
        return look()

    monkeypatch.setattr(runs, "_undelivered", trip)
    asyncio.run(_until_heard(runs, ear))
    assert ear.ids == ["octy-incident-i1"]
    assert row(world, number) == (True, 1, "")
    assert "next try in 0.5 s" in caplog.text
    assert ("ann@customer.example" in caplog.text) is isinstance(trouble, RPCError)  # what Temporal itself says is told


async def _until_heard(runs: Relay, ear: Ear) -> None:
    running = asyncio.create_task(runs.run())
    async with asyncio.timeout(20):
        while not ear.heard and not running.done():  # noqa: ASYNC110  # an ear calls nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # the row is marked after the call
    assert not running.done()
    running.cancel()


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


@pytest.mark.parametrize("event", [Event.INCIDENT_OPENED, Event.INCIDENT_GREW])
def test_delivered_twice_is_one_workflow(world: World, temporal: Temporal, event) -> None:
    incident_id = f"twice-{event}"
    name = f"octy-incident-{incident_id}"
    put(world, Event.INCIDENT_OPENED, incident_id)
    put(world, Event.INCIDENT_GREW, incident_id, failures=40)
    put(world, Event.INCIDENT_ANSWERED, incident_id, answer="not_us", leaked=True)
    runs = relay(world, temporal.client)
    assert temporal.run(runs.deliver_some()) == Round(3, 0)
    first = temporal.run(_runs(temporal.client, name))
    assert temporal.run(_history(temporal.client, name)) == ["start", "attempts_grew", "customer_answered"]
    with world.database.write() as connection:  # as after a crash between the call and the note
        connection.exec_driver_sql("UPDATE outbox SET delivered_at = NULL WHERE kind = ?", (str(event),))
    assert temporal.run(runs.deliver_some()) == Round(1, 0)
    again = {Event.INCIDENT_OPENED: [], Event.INCIDENT_GREW: ["attempts_grew"]}[event]
    told = temporal.run(_history(temporal.client, name))
    assert told == ["start", "attempts_grew", "customer_answered", *again]
    assert temporal.run(_runs(temporal.client, name)) == first


@pytest.mark.parametrize(("event", "detail"), [(Event.INCIDENT_OPENED, {}), (Event.INCIDENT_GREW, {"failures": 80})])
def test_a_workflow_that_has_ended_is_not_started_again(world: World, temporal: Temporal, event, detail) -> None:
    incident_id = f"ended-{event}"
    name = f"octy-incident-{incident_id}"
    put(world, Event.INCIDENT_OPENED, incident_id)
    runs = relay(world, temporal.client)
    temporal.run(runs.deliver_some())
    temporal.run(temporal.client.get_workflow_handle(name).terminate())
    before = temporal.run(_runs(temporal.client, name))
    number = put(world, event, incident_id, **detail)
    assert temporal.run(runs.deliver_some()) == Round(1, 0)
    assert row(world, number) == (True, 1, "")
    assert temporal.run(_runs(temporal.client, name)) == before


def test_a_case_whose_start_was_set_aside_starts_with_its_next_message(world: World, temporal: Temporal) -> None:
    put(world, Event.INCIDENT_OPENED, "aside")
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET tries = 5")
    put(world, Event.INCIDENT_GREW, "aside", failures=40)
    assert temporal.run(relay(world, temporal.client).deliver_some()) == Round(1, 0)
    assert temporal.run(_history(temporal.client, "octy-incident-aside")) == ["start", "attempts_grew"]


def test_the_server_refuses_one_message_and_takes_the_next(world: World, temporal: Temporal) -> None:
    bad, good = put(world, Event.INCIDENT_OPENED, "x" * 2000), put(world, Event.INCIDENT_OPENED, "taken")
    assert temporal.run(relay(world, temporal.client).deliver_some()) == Round(1, 1)
    assert row(world, bad) == (False, 1, "RPCError INVALID_ARGUMENT")
    assert row(world, good) == (True, 1, "")


def test_a_namespace_that_is_missing_costs_no_message(world: World, temporal: Temporal) -> None:
    number = put(world, Event.INCIDENT_OPENED, "i1")
    nowhere = temporal.run(Client.connect(temporal.address, namespace="nowhere"))
    with pytest.raises(RPCError):
        temporal.run(relay(world, nowhere).deliver_some())
    assert row(world, number) == (False, 0, "RPCError NOT_FOUND")
