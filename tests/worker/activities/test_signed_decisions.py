"""Forged decisions straight to a real Temporal server, by its own command line: refused, with nothing done and traces.

A signed order, received an hour before while Temporal was away, is carried out. What receipts alone refuse:
`worker/access/test_receipts.py`.
"""

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from support.cli_rig import open_incident
from support.staff_rig import StaffKeys, StaffRig
from support.temporal import Temporal, open_temporal
from support.until import TIMEOUT, until_async
from support.worker_rig import WorkerRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.db.bulk_sql import run
from octy_worker.access.members import StaffState
from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass, Evidence, NoProofs, Unproven
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.dev.temporal_server import find_temporal
from octy_workflows.messages import RefusalReason, WorkflowKind, incident_workflow_id
from octy_workflows.order_content import STAFF_DECISION

NOW = float(int(time.time()))
FORGED = uuid7(NOW)


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@dataclass
class Office:
    """One incident of a world with staff, and the server."""

    rig: StaffRig
    temporal: Temporal
    incident_id: str
    at: float = NOW  # when staff orders: a code is good once

    def order(self, actor: str = "ada", subject: str = "") -> Order:
        fields = {"decision": "dismiss", "leaked": False}
        of = (uuid7(self.at), INSTALLATION, Action.DECIDE, subject or self.incident_id)
        return Order(*of, fields, "their load test", actor, int(self.at))

    def receive(self, order: Order) -> str:
        """Have it received as the staff API does, while nothing of Temporal is needed."""
        rig = self.rig
        receipts = rig.receipts()
        proof = Evidence(rig.keys.keys[order.actor].sign(order.to_bytes()), rig.code(self.at))
        with rig.world.database.write_session() as session:
            return receipts.receive(session, order.to_bytes(), proof, self.at).order.order_id

    def change(self, statement: str, *values: object) -> None:
        with self.rig.world.database.write() as connection:
            run(connection, statement, *values)

    async def cli(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Temporal's own command about the incident's workflow, as anyone who reaches the server can."""
        of = ("--workflow-id", incident_workflow_id(INSTALLATION, self.incident_id), "--address", self.temporal.address)
        command = [find_temporal(), "workflow", *verb.split(), *of, *words]
        options = {"capture_output": True, "text": True, "timeout": TIMEOUT, "check": False}
        return await asyncio.to_thread(subprocess.run, command, **options)

    async def update(self, order_id: str) -> subprocess.CompletedProcess[str]:
        return await self.cli("update execute", "--name", "decide", "--input", json.dumps({"order": order_id}))

    async def signal(self, order_id: str) -> subprocess.CompletedProcess[str]:
        return await self.cli("signal", "--name", STAFF_DECISION, "--input", json.dumps({"order": order_id}))

    def rows(self, statement: str) -> list[tuple]:
        return self.rig.world.rows(statement)

    def events(self, what: str) -> list[tuple]:
        query = "SELECT detail FROM incident_event WHERE incident_id = :id AND what = :what"
        return self.rig.world.rows(query, id=self.incident_id, what=what)


@pytest.fixture
def office(world: World, staff_keys: StaffKeys, temporal: Temporal) -> Office:
    rig = StaffRig(world, staff_keys, NOW)
    return Office(rig, temporal, open_incident(world)[1])


def play(
    office: Office, monkeypatch: pytest.MonkeyPatch, act: Callable[[WorkerRig], object], **options: object
) -> None:
    """Run the act beside a worker that judges staff, once the incident waits."""
    rig = office.rig
    settings = {"staff_keys": rig.staff_keys, "staff_ca_keys": (rig.keys.authority.public,), **options}
    worker = WorkerRig(rig.world, monkeypatch, staff_auth="on", **settings)

    async def main() -> None:
        async with worker.run(office.temporal.client):
            await until_async(lambda: set(office.rows("SELECT state FROM incident")) == {("waiting",)})
            await act(worker)  # type: ignore[misc]

    office.temporal.run(main())


def received(office: Office) -> str:
    return office.receive(office.order())


def elsewhere(office: Office) -> str:
    return office.receive(office.order(subject="another"))


def unproven(office: Office) -> str:
    """A row as a worker with OCTY_STAFF_AUTH=off would write it."""
    order = office.order("amy")
    with office.rig.world.database.write_session() as session:
        OrderReceipts(INSTALLATION, NoProofs()).receive(session, order.to_bytes(), Unproven(), NOW)
    return order.order_id


def inserted(office: Office) -> str:
    """A row by SQL: another decision beside the receipt of a real one."""
    order_id = received(office)
    order = replace(office.order(), order_id=FORGED)
    columns = "action, subject, actor, private, signature, certificate, factor, source, part_of, received_at, mac"
    office.change(
        f"INSERT INTO staff_order (id, body, state, used_by, refusal, output, {columns}) "
        f"SELECT ?, ?, 'received', '', '', '', {columns} FROM staff_order WHERE id = ?",
        FORGED, order.to_bytes().decode(), order_id,
    )  # fmt: skip
    return FORGED


def edited(statement: str) -> Callable[[Office], str]:
    def make(office: Office) -> str:
        order_id = received(office)
        office.change(statement)
        return order_id

    return make


def disabled(office: Office) -> str:
    order_id = received(office)
    with office.rig.world.database.write_session() as session:
        office.rig.members.change(session, "ada", granted_by="o", now=NOW, state=StaffState.DISABLED)
    return order_id


def promoted(office: Office) -> str:
    """A viewer's role changed by SQL after an order that was received when they had it."""
    order_id = received(office)
    office.change("UPDATE staff SET role = 'admin' WHERE handle = 'ada'")
    return order_id


FACTOR = "UPDATE staff_order SET factor = 'break-glass'"
BODY = "UPDATE staff_order SET body = REPLACE(body, 'dismiss', 'regenerate')"
FORGERIES = {  # the first ones change nothing but orders, so one worker judges them one after the other
    "of_orders": ({
        "an_invented_id": (lambda _office: FORGED, RefusalReason.ORDER_MISSING),
        "no_id_at_all": (lambda _office: "", RefusalReason.UNREADABLE),
        "a_row_without_proof": (unproven, RefusalReason.ORDER_UNPROVEN),
        "of_another_incident": (elsewhere, RefusalReason.ORDER_MISMATCH),
        "a_body_edited_by_sql": (edited(BODY), RefusalReason.ORDER_UNPROVEN),
        "a_row_inserted_by_sql": (inserted, RefusalReason.ORDER_UNPROVEN),
    }, {}),
    "a_receipt_edited_by_sql": ({"": (edited(FACTOR), RefusalReason.ORDER_UNPROVEN)}, {}),
    "of_a_disabled_person": ({"": (disabled, RefusalReason.ORDER_NOT_ALLOWED)}, {}),
    "of_a_role_set_by_sql": ({"": (promoted, RefusalReason.ORDER_NOT_ALLOWED)}, {}),
    "of_a_revoked_certificate":
        ({"": (received, RefusalReason.ORDER_NOT_ALLOWED)}, {"staff_revoked": ("serial:18",)}),
    "unapproved": ({"": (received, RefusalReason.ORDER_NOT_ALLOWED)}, {"four_eyes": ("incident.decide",)}),
}  # fmt: skip
Forgery = tuple[Callable[[Office], str], RefusalReason]


@pytest.mark.sqlite
@pytest.mark.parametrize(("forgeries", "options"), FORGERIES.values(), ids=FORGERIES)
def test_forged_update_and_signal_are_refused_recorded_and_counted(  # fixtures, and a row
    office: Office, monkeypatch: pytest.MonkeyPatch, forgeries: dict[str, Forgery], options: dict[str, object]
) -> None:
    offices = [office]
    for number in range(1, len(forgeries)):
        incident_id = open_incident(office.rig.world, f"other{number}")[1]
        offices.insert(0, replace(office, incident_id=incident_id, at=NOW - 60.0 * number))

    async def act(worker: WorkerRig) -> None:
        for own, (name, (forge, why)) in zip(offices, forgeries.items(), strict=True):
            before = refusals(worker)
            order_id = forge(own)
            update = await own.update(order_id)
            assert update.returncode != 0, (name, update)
            await own.signal(order_id)
            judged = 1 if why is RefusalReason.UNREADABLE else 2  # such an update is refused before it is accepted
            await until_async(lambda before=before, judged=judged: (refusals(worker) - before).total() >= judged)
            assert refusals(worker) - before == {why: judged}, name
            assert own.events("decision_refused"), name
            assert set(own.rows("SELECT state, closed_at FROM incident")) == {("waiting", None)}, name
            assert set(own.rows("SELECT answer FROM incident_answer")) == {(None,)}, name
            refused = f"SELECT actor FROM audit_entry WHERE action = 'order.refused' AND subject = '{own.incident_id}'"
            assert set(own.rows(refused)) == {("system",)}, name

    play(office, monkeypatch, act, **options)


def refusals(worker: WorkerRig) -> Counter[RefusalReason]:
    """Return how many messages to incidents were refused, by reason, as the metric has them."""
    value = worker.parts.metrics.registry.get_sample_value
    named = ((reason, {"workflow": WorkflowKind.INCIDENT, "reason": reason}) for reason in RefusalReason)
    return Counter({why: int(value("octy_workflow_messages_refused_total", labels) or 0) for why, labels in named})


@pytest.mark.sqlite
def test_order_received_while_temporal_was_away_is_carried_out_afterwards_and_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = received(office)  # neither server nor worker knows of the incident yet

    async def act(_worker: WorkerRig) -> None:
        await office.signal(order_id)  # its own author may send it by Temporal's Web UI as well
        await until_async(lambda: office.rows("SELECT resolution FROM incident") == [("false_alarm",)])

    play(office, monkeypatch, act)
    assert office.rows("SELECT answer, answered_by FROM incident_answer") == [("it_was_us", "ada")]
    assert office.rows("SELECT state FROM staff_order") == [("used",)]
    used = "SELECT COUNT(*) FROM audit_entry WHERE action = 'order.used'"
    assert office.rows(used) == [(1,)]


@pytest.mark.sqlite
def test_order_that_waited_for_more_than_a_day_ends_and_the_workflow_goes_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = NOW - 25 * 3600
    late = replace(office.order(), order_id=uuid7(then), issued_at=int(then))
    receipts = office.rig.receipts()
    with office.rig.world.database.write_session() as session:
        receipts.receive(session, late.to_bytes(), BreakGlass(), then)  # no certificate is valid for so long

    async def act(_worker: WorkerRig) -> None:
        await office.signal(late.order_id)
        await until_async(lambda: office.rows("SELECT state FROM staff_order") == [("refused",)])
        assert "was refused already" in (await office.update(late.order_id)).stderr
        [(why,)] = office.rows("SELECT detail FROM incident_event WHERE what = 'decision_refused'")
        assert "more than 24 hours ago and not used; order it again" in why
        assert office.rows("SELECT state, closed_at FROM incident") == [("waiting", None)]
        await office.signal(received(office))
        await until_async(lambda: office.rows("SELECT resolution FROM incident") == [("false_alarm",)])

    play(office, monkeypatch, act)
    refused = "SELECT actor, order_id FROM audit_entry WHERE action = 'order.refused'"
    assert office.rows(refused) == [("ada", late.order_id)]
