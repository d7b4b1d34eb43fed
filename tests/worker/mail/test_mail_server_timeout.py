"""A mail server that hangs delays mails only: no decision of staff, and not the next alert."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import Iterator

import pytest
from support.cli_rig import open_incident
from support.orders import receive_order
from support.temporal import Temporal, open_temporal
from support.until import TIMEOUT, until_async
from support.worker_rig import WorkerRig
from support.world import INSTALLATION, World

from octy_worker import task_queue_workers
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import StaffAction, incident_workflow_id
from octy_workflows.order_content import StaffDecision
from octy_workflows.task_queues import TaskQueueKind

WAITING = 20  # more than any other kind of work has threads
THREADS = WAITING + 2  # for alerts


class HangingMailer:
    """A mail server that takes the mails of one customer only."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.waiting: list[str] = []
        self.taken: list[str] = []

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        if "attacked" in str(envelope.recipient):
            self.taken.append(str(envelope.recipient))
            return SmtpResult(SmtpStatus.ACCEPTED)
        self.waiting.append(str(envelope.recipient))
        assert self.let_go.wait(TIMEOUT * 2)
        return SmtpResult(SmtpStatus.DEFERRED, "timeout")


@pytest.fixture
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@pytest.mark.sqlite
def test_decision_and_next_alert_are_prompt_while_twenty_mails_hang(
    world: World, temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = task_queue_workers.QUEUE_SLOTS
    assert max(slots[work].threads for work in (None, TaskQueueKind.INCIDENTS, TaskQueueKind.MAILS)) < WAITING
    assert slots[TaskQueueKind.ALERTS].threads >= 64  # in earnest; fewer hang as well, and take less time to begin
    monkeypatch.setitem(slots, TaskQueueKind.ALERTS, dataclasses.replace(slots[TaskQueueKind.ALERTS], threads=THREADS))
    hanging, rig = HangingMailer(), WorkerRig(world, monkeypatch)
    rig.parts.mailer = hanging  # type: ignore[assignment]
    ids = [open_incident(world, f"customer{number}")[1] for number in range(WAITING)]

    async def play() -> tuple[float, float]:
        async with rig.run(temporal.client):
            try:
                await until_async(lambda: len(hanging.waiting) >= WAITING)
                began = time.monotonic()
                handle = temporal.client.get_workflow_handle(incident_workflow_id(INSTALLATION, ids[0]))
                ordered = (StaffAction.DECIDE, ids[0], StaffDecision("dismiss", "dan", "their own test"), time.time())
                order_id = await asyncio.to_thread(receive_order, world, *ordered)
                report = await handle.execute_update(KeyIncidentWorkflow.decide, {"order": order_id})
                decided = time.monotonic() - began
                assert report.accepted
                began = time.monotonic()
                await asyncio.to_thread(open_incident, world, "attacked")
                await until_async(lambda: hanging.taken)
                return decided, time.monotonic() - began
            finally:
                hanging.let_go.set()

    decided, alerted = temporal.run(play())
    assert (decided < 5, alerted < 5) == (True, True), (decided, alerted)
