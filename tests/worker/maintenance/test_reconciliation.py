"""Reconciliation after lost state of Temporal or dead letters: open subjects continue, nothing is sent twice."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.cli_rig import open_incident
from support.in_session import in_session
from support.relay_rig import change, put
from support.until import until_async
from support.worker_rig import WorkerRig
from support.world import INSTALLATION, QUEUE, World
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.domain.notices import create_notice
from octy_middleware.states import Answer, NoticeKind
from octy_worker.dev.processes import Process, ProcessGroup, free_port
from octy_worker.dev.temporal_server import start_temporal
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.job_lease import LEASE_TTL, JobLease
from octy_worker.domain.restart_state import incident_restart, regeneration_restart
from octy_worker.maintenance.reconciliation import messages as repairs
from octy_worker.maintenance.reconciliation import subjects
from octy_worker.maintenance.reconciliation.run import JOB, Findings, Reconciliation
from octy_worker.maintenance.reconciliation.subjects import Subject
from octy_worker.maintenance.reconciliation.workflows import WorkflowLookup, WorkflowState
from octy_worker.maintenance.restored.histories import Execution, Histories
from octy_worker.staff.amendments import Amendment, amend_answer
from octy_worker.staff.registration import register
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import DAY, IncidentInput, IncidentRestart, RegenerationRestart, incident_workflow_id
from octy_workflows.task_queues import incident_task_queue


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessGroup]:
    with ProcessGroup(tmp_path / "logs", dict(os.environ)) as group:
        yield group


@pytest.fixture
def file_world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, "sqlite")
    yield world
    world.close()


def lose_state(group: ProcessGroup, server: Process, file: Path, port: int) -> None:
    """Kill the server, delete its file, start a new one at the same place."""
    os.kill(server.pid, signal.SIGKILL)
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    start_temporal(group, file, port=port, ui_port=None)


def test_incidents_continue_after_temporal_lost_its_state(
    file_world: World, tmp_path: Path, group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for its answer, one for the collection of its new keys, one for the end of the overlap."""
    file, port = tmp_path / "temporal.db", free_port()
    server = start_temporal(group, file, port=port, ui_port=None)
    rig = WorkerRig(file_world, monkeypatch, temporal_address=f"127.0.0.1:{port}", overlap=0.0)
    waiting, mailed = (open_incident(file_world, name)[1] for name in ("waiting", "mailed"))
    state_of = "SELECT id FROM incident WHERE id = :id AND state = :state"

    async def before() -> str:
        async with rig.run(await Client.connect(f"127.0.0.1:{port}")):
            await until_async(lambda: len(rig.told.envelopes) == 2)
            rig.answer(mailed, Answer.NOT_US)
            await until_async(lambda: rig.rows(state_of, id=mailed, state="regenerating"))
            await until_async(lambda: any(".new_keys." in message for message in rig.mails))
            await until_async(lambda: not rig.rows("SELECT id FROM outbox WHERE delivered_at IS NULL"))
            return rig.rows("SELECT regeneration_id FROM incident WHERE id = :id", id=mailed)[0][0]

    regeneration = asyncio.run(before())
    lose_state(group, server, file, port)

    async def after() -> None:
        client = await Client.connect(f"127.0.0.1:{port}")
        found = await reconciliation(file_world, *lookups(client), dry_run=True).run()
        assert found == Findings(checked=3, restarted=3)
        assert not rig.rows("SELECT id FROM outbox WHERE delivered_at IS NULL")  # nothing was changed
        async with rig.run(client):
            # Its schedule was lost as well; it comes back, and is due at once.
            await until_async(lambda: len(rig.rows("SELECT 1 FROM outbox WHERE detail LIKE '%again%'")) == 3)
            await until_async(lambda: not rig.rows("SELECT id FROM outbox WHERE delivered_at IS NULL"))
            rig.answer(waiting, Answer.IT_WAS_US)
            assert in_session(
                file_world.database, regenerations.collect, file_world.sealer, regeneration, 1, time.time()
            )
            await until_async(lambda: len(rig.rows("SELECT id FROM incident WHERE state = 'closed'")) == 2)
            await runs_though_it_is_closed(file_world, client, waiting)

    asyncio.run(after())
    ends = dict(rig.rows("SELECT id, resolution FROM incident"))
    assert ends == {waiting: "false_alarm", mailed: "regenerated"}
    assert set(rig.mails.values()) == {1}


async def runs_though_it_is_closed(world: World, client: Client, incident_id: str) -> None:
    """Start the workflow of an incident that was closed long ago, as a restored Temporal has it."""
    change(world, "UPDATE incident SET closed_at = closed_at - 3600000000 WHERE id = ?", incident_id)
    handle = await client.start_workflow(
        KeyIncidentWorkflow.run,
        IncidentInput(incident_id),
        id=incident_workflow_id(INSTALLATION, incident_id),
        task_queue=incident_task_queue(QUEUE),
    )
    workflows, histories = lookups(client)
    await until_async(lambda: workflows.is_idle(Subject.INCIDENT, incident_id))

    async def terminated() -> int:  # Temporal's index is eventually consistent
        found = await reconciliation(world, workflows, histories).run()
        assert found is not None
        return found.terminated

    await until_async(terminated)
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED


# With a fake Temporal


class FakeTemporal:
    """A fake of Temporal: `runs` and `known` are what it lists; it keeps what was terminated."""

    def __init__(
        self, states: dict[str, WorkflowState] | None = None, running: dict[Subject, list[str]] | None = None
    ) -> None:
        self.known = states or {}
        self.runs = running or {}
        self.asked: list[str] = []
        self.ends: list[tuple[str, str]] = []
        self.busy: set[str] = set()
        self.executed: list[Execution] = []

    async def states(self, workflow_ids: Mapping[str, str]) -> dict[str, WorkflowState]:
        self.asked += workflow_ids.values()
        return {one: self.known.get(one, WorkflowState.RUNNING) for one in workflow_ids}

    async def running(self) -> AsyncIterator[tuple[Subject, list[str]]]:
        for kind, ids in self.runs.items():
            yield kind, ids

    async def executions(self, _kind: Subject, *, running: bool, limit: int) -> AsyncIterator[Execution]:
        assert limit
        for execution in self.executed:
            if execution.running is running:
                yield execution

    async def is_idle(self, _kind: Subject, subject_id: str) -> bool:
        return subject_id not in self.busy

    async def terminate(self, _kind: Subject, subject_id: str, reason: str) -> None:
        self.ends.append((subject_id, reason))


def lookups(client: Client) -> tuple[WorkflowLookup, Histories]:
    return WorkflowLookup(client, QUEUE, INSTALLATION), Histories(client, INSTALLATION)


def reconciliation(
    world: World, workflows: FakeTemporal | WorkflowLookup, histories: FakeTemporal | Histories, **options: object
) -> Reconciliation:
    options = {"clock": time.time, "installation": INSTALLATION, "notice_ttl": 14 * DAY, **options}
    return Reconciliation(world.database, workflows, histories, **options)  # type: ignore[arg-type]


def reconcile(world: World, fake: FakeTemporal, **options: object) -> Findings:
    found = asyncio.run(reconciliation(world, fake, fake, **options).run())
    assert found is not None
    return found


def messages(world: World) -> list[tuple]:
    """Return the pending outbox messages, and mark them as delivered."""
    rows = world.rows(
        "SELECT kind, subject_id, detail FROM outbox WHERE delivered_at IS NULL AND delivery_attempts < 5 ORDER BY id"
    )
    change(world, "UPDATE outbox SET delivered_at = 1 WHERE delivered_at IS NULL AND delivery_attempts < 5")
    return [(kind, subject, json.loads(detail)) for kind, subject, detail in rows]


def add_dead_letter(world: World, event: str, subject: str, **detail: object) -> None:
    number = put(world, event, subject, **detail)
    change(world, "UPDATE outbox SET delivery_attempts = 5, last_error = 'ValueError' WHERE id = ?", number)


@pytest.fixture
def case(world: World) -> tuple[str, str]:
    """An incident, and the regeneration of its customer's first key pair, finished; everything is delivered."""
    keys, incident_id = open_incident(world)
    change(world, "UPDATE regeneration SET state = 'done', finished_at = 1")
    messages(world)
    return incident_id, keys.regeneration_id


@pytest.mark.parametrize("life", [WorkflowState.NOT_FOUND, WorkflowState.TERMINATED])
def test_incident_without_a_workflow_is_restarted_once(
    world: World, case: tuple[str, str], life: WorkflowState
) -> None:
    incident_id, _ = case
    assert reconcile(world, FakeTemporal({incident_id: life})).restarted == 1
    assert reconcile(world, FakeTemporal({incident_id: life})) == Findings(checked=1)  # its message is on its way
    assert messages(world) == [("incident_opened", incident_id, {"again": True})]
    assert reconcile(world, FakeTemporal()) == Findings(checked=1)


def test_completed_workflow_of_an_open_row_counts_as_restored_backup_and_is_not_restarted(
    world: World, case: tuple[str, str]
) -> None:
    """Its workflow has completed: a restart would deliver keys again that are in use, and retire them."""
    incident_id, regeneration_id = case
    change(world, "UPDATE regeneration SET finished_at = NULL, state = 'sent' WHERE id = ?", regeneration_id)
    fake = FakeTemporal({incident_id: WorkflowState.COMPLETED, regeneration_id: WorkflowState.COMPLETED})
    ended = Execution(Subject.INCIDENT, "lost", "run", False, datetime.now(UTC), time.time())
    fake.executed = [ended, replace(ended, subject_id=incident_id), replace(ended, subject_id=regeneration_id)]
    found = reconcile(world, fake)
    assert (found.checked, found.restarted, found.temporal_ahead) == (2, 0, 6)  # the list is the same of both kinds
    assert messages(world) == []


def test_restarted_incident_workflow_gets_the_recorded_answer(world: World, case: tuple[str, str]) -> None:
    incident_id, _ = case
    in_session(
        world.database, incidents.answer_incident, incident_id, Answer.NOT_US, leaked=True, by="dan", now=time.time()
    )
    assert reconcile(world, FakeTemporal({incident_id: WorkflowState.NOT_FOUND})).restarted == 1
    answer = {"answer": "not_us", "leaked": True, "by": "dan", "again": True}
    assert messages(world) == [("incident_answered", incident_id, answer)]


@pytest.mark.parametrize(("state", "told"), [("done", True), ("abandoned", False), ("superseded", False)])
def test_restarted_incident_workflow_gets_the_result_of_its_regeneration(
    world: World, case: tuple[str, str], state: str, told: bool
) -> None:
    """Else the incident asks again, or joins what came later: the start itself knows which one ended in vain."""
    incident_id, regeneration_id = case
    change(world, "UPDATE regeneration SET state = ? WHERE id = ?", state, regeneration_id)
    change(world, "UPDATE incident SET regeneration_id = ? WHERE id = ?", regeneration_id, incident_id)
    assert reconcile(world, FakeTemporal({incident_id: WorkflowState.NOT_FOUND})).restarted == 1
    end = ("regeneration_finished", incident_id, {"regeneration_id": regeneration_id, "state": "done"})
    assert messages(world) == [("incident_opened", incident_id, {"again": True})] + [end] * told
    with world.database.read_session() as session:
        past = incident_restart(session, incident_id)
    assert past == IncidentRestart(regeneration_id="" if told else regeneration_id)


def test_incident_restart_keeps_its_opening_time_and_skips_closed_incidents(
    world: World, case: tuple[str, str]
) -> None:
    incident_id, regeneration_id = case
    with world.database.write_session() as session:
        incidents.append_event(session, incident_id, key="opened", actor="system", what="opened", detail={}, now=1e9)
    with world.database.read_session() as session:
        assert incident_restart(session, incident_id) == IncidentRestart(started_at=1e9)
        assert regeneration_restart(session, regeneration_id, 0.0) is None
    change(world, "UPDATE incident SET closed_at = 1, state = 'closed' WHERE id = ?", incident_id)
    with world.database.read_session() as session:
        assert incident_restart(session, incident_id) is None


def test_regeneration_without_a_workflow_is_restarted_in_its_current_state(world: World) -> None:
    contact = {"contact_email_address": "a@acme.example"}
    ordered = register(world.database, "acme", contact, actor="test", now=1e9).regeneration_id
    messages(world)
    with world.database.read_session() as session:
        assert regeneration_restart(session, ordered, 1e9) == RegenerationRestart()
    assert reconcile(world, FakeTemporal({ordered: WorkflowState.NOT_FOUND})).restarted == 1
    assert messages(world) == [("regeneration_opened", ordered, {"again": True})]
    world.complete(ordered, now=1e9)
    messages(world)
    with world.database.read_session() as session:
        assert regeneration_restart(session, ordered, 1e9 + 2 * DAY) == RegenerationRestart(1e9, 1)  # nothing is sealed
    assert reconcile(world, FakeTemporal({ordered: WorkflowState.TERMINATED})).restarted == 1
    assert messages(world) == [("regeneration_collected", ordered, {"again": True})]


def test_dead_letters_are_replaced_by_current_state_messages(world: World, case: tuple[str, str]) -> None:
    incident_id, regeneration_id = case
    change(world, "UPDATE incident SET regeneration_id = ? WHERE id = ?", regeneration_id, incident_id)
    change(world, "UPDATE regeneration SET state = 'abandoned' WHERE id = ?", regeneration_id)
    in_session(
        world.database,
        incidents.answer_incident,
        incident_id,
        Answer.IT_WAS_US,
        leaked=False,
        by="customer",
        now=time.time(),
    )
    messages(world)
    add_dead_letter(world, "incident_answered", incident_id, answer="it_was_us")
    add_dead_letter(world, "incident_grew", incident_id, failures=40)
    assert reconcile(world, FakeTemporal(), dry_run=True).resent == 1
    assert reconcile(world, FakeTemporal()) == Findings(
        checked=1, resent=1, dead_letters=1
    )  # the growth that only it knows
    assert [kind for kind, *_ in messages(world)] == ["regeneration_finished", "incident_answered"]
    assert world.rows("SELECT kind FROM outbox WHERE delivered_at IS NULL") == [("incident_grew",)]
    assert reconcile(world, FakeTemporal()) == Findings(checked=1, dead_letters=1)


def test_dead_letter_of_an_amendment_is_replaced_under_its_own_id(world: World, case: tuple[str, str]) -> None:
    incident_id, _ = case
    in_session(
        world.database,
        incidents.answer_incident,
        incident_id,
        Answer.NOT_US,
        leaked=False,
        by="customer",
        now=time.time(),
    )
    changed = Amendment(Answer.IT_WAS_US, leaked=False, actor="dan", reason="they called", order_id="c-1")
    in_session(world.database, amend_answer, incident_id, changed, time.time())
    messages(world)
    add_dead_letter(world, "incident_changed", incident_id)
    assert reconcile(world, FakeTemporal()) == Findings(checked=1, resent=1)
    fake = {"answer": "it_was_us", "leaked": False, "by": "dan"}
    assert messages(world) == [
        ("incident_answered", incident_id, fake),
        ("incident_changed", incident_id, {**fake, "order_id": "c-1"}),
    ]


@pytest.mark.parametrize(
    ("state", "ended", "told"),
    [("abandoned", [], True), ("superseded", [], True), ("done", ["octy: closed in the database as done"], False)],
)
def test_running_workflow_of_a_finished_regeneration_is_ended(
    world: World, case: tuple[str, str], state: str, ended: list[str], told: bool
) -> None:
    _, regeneration_id = case
    change(world, "UPDATE regeneration SET state = ? WHERE id = ?", state, regeneration_id)
    fake = FakeTemporal(running={Subject.REGENERATION: [regeneration_id, "foreign"]})
    assert reconcile(world, fake, dry_run=True).terminated == 1
    found = reconcile(world, fake)
    assert (found.terminated, found.unknown) == (1, 1)
    assert [why for _, why in fake.ends] == ended
    assert messages(world) == [("regeneration_superseded", regeneration_id, {})] * told
    fake.busy.add(regeneration_id)  # it is about to end by itself
    assert reconcile(world, fake).terminated == 0
    change(world, "UPDATE regeneration SET finished_at = ? WHERE id = ?", int(time.time() * 1e6), regeneration_id)
    fake.busy.clear()
    assert reconcile(world, fake).terminated == 0  # just now


def test_dead_letters_of_regenerations_and_notices_are_replaced_by_what_their_workflows_may_lack(
    world: World, case: tuple[str, str]
) -> None:
    """A workflow of a notice runs, so it has the one message that there is."""
    _, regeneration_id = case
    change(world, "UPDATE regeneration SET finished_at = NULL, state = 'collected' WHERE id = ?", regeneration_id)
    with world.database.write() as connection:
        [(account_id,)] = connection.exec_driver_sql("SELECT account_id FROM incident").all()
        notice = create_notice(connection, NoticeKind.EXPOSED, account_id, time.time(), {})
    messages(world)
    add_dead_letter(world, "regeneration_collected", regeneration_id)
    add_dead_letter(world, "notice_created", notice)
    assert reconcile(world, FakeTemporal()) == Findings(checked=3, resent=2)
    assert messages(world) == [("regeneration_collected", regeneration_id, {})]


def test_subject_that_ended_after_its_page_was_read_is_not_restarted(world: World, case: tuple[str, str]) -> None:
    incident_id, regeneration_id = case
    change(world, "UPDATE incident SET closed_at = 1, state = 'closed'")
    for kind, subject_id in ((Subject.INCIDENT, incident_id), (Subject.REGENERATION, regeneration_id)):
        assert not repairs.restart(world.database, kind, subject_id, time.time())
    assert messages(world) == []


def test_subject_with_a_message_under_way_gets_no_other(world: World, case: tuple[str, str]) -> None:
    incident_id, regeneration_id = case
    for subject_id in case:
        put(world, "incident_grew", subject_id, failures=40)
        add_dead_letter(world, "incident_answered", subject_id)
    assert not repairs.resend_state(world.database, Subject.INCIDENT, incident_id, time.time())
    assert not repairs.notify_ended_regeneration(world.database, regeneration_id, time.time())
    assert [kind for kind, *_ in messages(world)] == ["incident_grew"] * 2


def test_notice_is_restarted_until_its_mails_are_final(world: World) -> None:
    keys = world.register()
    change(world, "UPDATE regeneration SET state = 'done', finished_at = 1")
    now = time.time()
    with world.database.write() as connection:
        detail = {"old": "a@acme.example", "new": "b@acme.example"}
        notice = create_notice(connection, NoticeKind.CONTACT_CHANGED, keys.account_id, now, detail)
        create_notice(
            connection, NoticeKind.CONTACT_CHANGED, keys.account_id, now - 15 * DAY, detail
        )  # it is not waited for
    messages(world)
    gone = FakeTemporal({notice: WorkflowState.NOT_FOUND})
    assert reconcile(world, gone) == Findings(checked=1, restarted=1)
    assert messages(world) == [("notice_created", notice, {"again": True})]
    for kind, state in (("contact_changed", "sent"), ("new_contact", "pending")):
        change(
            world,
            "INSERT INTO mail (key, account_id, kind, message_id, state, delivery_attempts, last_error, created_at) "
            "VALUES (?, ?, ?, ?, ?, 1, '', ?)",
            *(f"{notice}/{kind}/1", keys.account_id, kind, f"<{kind}>", state, int((now - 7200) * 1e6)),
        )
    assert reconcile(world, gone) == Findings(checked=1, restarted=1, delayed_mails=1)
    messages(world)
    change(world, "UPDATE mail SET state = 'skipped', last_error = 'obsolete' WHERE kind = 'new_contact'")
    assert reconcile(world, gone) == Findings()


def test_webhook_without_a_workflow_is_restarted_under_its_own_order_number(
    world: World, case: tuple[str, str]
) -> None:
    incident_id, _ = case
    insert = (
        "INSERT INTO webhook (id, key, account_id, event, data, state, orders, delivery_attempts, last_error, "
        "created_at) SELECT ?, ?, account_id, 'incident.opened', '{}', ?, 3, 0, '', 1 FROM incident"
    )
    for webhook_id, state in (("w-1", "pending"), ("w-2", "sent")):
        change(world, insert, webhook_id, f"{webhook_id}/x/1", state)
    fake = FakeTemporal({"w-1": WorkflowState.NOT_FOUND})
    assert reconcile(world, fake) == Findings(checked=2, restarted=1)
    assert sorted(fake.asked) == [f"octy-{INSTALLATION}-incident-{incident_id}", f"octy-{INSTALLATION}-webhook-w-1-3"]
    assert messages(world) == [("webhook_due", "w-1", {"order": 3, "again": True})]


def test_reconciliation_checks_every_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "PAGE", 2)
    for number in range(5):
        open_incident(world, f"acme{number}")
    change(world, "UPDATE regeneration SET state = 'done', finished_at = 1")
    messages(world)
    fake = FakeTemporal()
    assert reconcile(world, fake).checked == 5
    assert len(set(fake.asked)) == 5


def test_long_reconciliation_keeps_its_lease_or_ends_without_one(world: World, case: tuple[str, str]) -> None:
    now, taken = time.time(), list[bool]()
    clock = (now + 8.0 * number for number in count()).__next__  # each look at it is 8 s later

    def look(_findings: Findings) -> None:
        taken.append(JobLease(world.database, JOB, clock).take() is not None)

    done = reconcile(world, FakeTemporal(running={Subject.INCIDENT: [case[0]]}), clock=clock, on_progress=look)
    assert done.checked == 1
    assert (len(taken), any(taken)) == (2, False)

    def take_over(_findings: Findings) -> None:
        assert JobLease(world.database, JOB, lambda: clock() + LEASE_TTL).take() is not None

    fake = FakeTemporal()
    lost = reconciliation(world, fake, fake, clock=clock, on_progress=take_over)
    assert asyncio.run(lost.run()) is None


# What Temporal lists


class ListingClient:
    """A client of a server with these workflows, which is away when one of them is described."""

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self._ids = ids

    async def list_workflows(self, query: str, *, page_size: int) -> AsyncIterator[SimpleNamespace]:
        assert page_size
        for workflow_id in self._ids if "KeyIncidentWorkflow" in query else ():
            yield SimpleNamespace(id=workflow_id)

    def get_workflow_handle(self, _workflow_id: str) -> SimpleNamespace:
        async def describe() -> None:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")

        return SimpleNamespace(describe=describe)


def test_running_workflows_are_listed_by_pages_without_foreign_ones() -> None:
    ours = [incident_workflow_id(INSTALLATION, str(number)) for number in range(401)]
    lookup = WorkflowLookup(ListingClient(["foreign", *ours]), QUEUE, INSTALLATION)  # type: ignore[arg-type]

    async def listed() -> list[tuple[Subject, list[str]]]:
        return [page async for page in lookup.running()]

    pages = asyncio.run(listed())
    assert [(kind, len(ids)) for kind, ids in pages] == [(Subject.INCIDENT, size) for size in (200, 200, 1)]
    assert [subject_id for _, ids in pages for subject_id in ids] == [str(number) for number in range(401)]


def test_outage_is_not_taken_for_a_missing_workflow() -> None:
    lookup = WorkflowLookup(ListingClient(), QUEUE, INSTALLATION)  # type: ignore[arg-type]
    with pytest.raises(RPCError, match="away"):
        asyncio.run(lookup.states({"i": "octy-i"}))


def test_reconciliation_needs_the_lease_and_an_error_releases_it(world: World, case: tuple[str, str]) -> None:
    lease = JobLease(world.database, JOB, time.time)
    lease.take()
    assert asyncio.run(reconciliation(world, FakeTemporal(), FakeTemporal()).run()) is None
    lease.release()
    failing = FakeTemporal()
    failing.states = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        reconcile(world, failing)
    assert world.rows("SELECT holder, last_error, finished_at FROM job") == [("", "ZeroDivisionError", None)]
    reconcile(world, FakeTemporal())
    [(cursor,)] = world.rows("SELECT cursor FROM job")
    assert json.loads(cursor) == Findings(checked=1).counts
