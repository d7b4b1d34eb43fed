"""What an intruder with access to Temporal types, replays or moves changes nothing: SQL facts decide.

Each workflow, each signal, each form of forgery, with encryption on and off; then the story must be as if nothing had
come, no workflow task may have failed, and the workflow must still go on when something really is so.
What the worker's own SQL steps refuse: `worker/activities/test_activities.py`,
`worker/activities/test_workflow_messages.py`.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from support.until import until_async
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.common import RawValue
from temporalio.converter import WorkflowSerializationContext
from temporalio.worker import Worker

from octy_middleware.keys.keychain import Keychain
from octy_worker.temporal.codec import EncryptionCodec
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.maintenance import KeyMaintenanceWorkflow
from octy_workflows.messages import (
    IncidentInput,
    MaintenanceInput,
    MaintenanceProgress,
    MaintenanceStepResult,
    MaintenanceTask,
    NoticeInput,
    NoticeKind,
    RegenerationInput,
    UseOrderInput,
    WebhookInput,
)
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.order_content import Choice, StaffDecision
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.task_queues import TaskQueueKind
from octy_workflows.webhook import KeyWebhookWorkflow
from workflows.workflow_fakes import FakeRecords
from workflows.workflow_harness import BUILD_ID, WORKFLOWS, Harness, WorkflowRun, on_harness, running_extra_workers

KEYS = Keychain({"k1": b"\x01" * 32})
DAN = StaffDecision("dismiss", "dan", "their own test", order_id="d-1")
SIGNALS = (
    *(
        "customer_answered",
        "answer_amended",
        "failures_increased",
        "regeneration_finished",
        "keys_collected",
        "superseded",
    ),
    *("staff_decision", "staff_extension", "staff_resend", "no_such_signal"),
)
CLAIMS = (  # what signals said when they were believed, and more of the kind
    *({"choice": "dismiss", "leaked": False, "by": "customer"}, {"choice": "regenerate", "leaked": True}),
    *({"regeneration_id": "r-1", "state": "done"}, {"state": "abandoned"}, {"failures": 10_000}),
    *({"decision": "dismiss", "actor": "eve", "reason": "forged"}, {"days": 90, "actor": "eve", "reason": "forged"}),
    *({"order": "no-order-of-this-id"}, "no-such-order", None, 7, []),
)
EVERY = 5  # each fifth signal gets a content; the next content goes to others, so that each signal gets some
_numbers = itertools.count(1)


def sealed_for(workflow_id: str, data: bytes) -> Payload:
    """Return ciphertext of a workflow, under the right key."""
    context = WorkflowSerializationContext(namespace="default", workflow_id=workflow_id)
    codec = EncryptionCodec(KEYS, secrets.token_bytes).with_context(context)
    return asyncio.run(codec.encode([Payload(metadata={"encoding": b"json/plain"}, data=data)]))[0]


OF_ANOTHER = sealed_for("octy-incident-another", b'{"choice":"dismiss"}')
RENAMED = sealed_for("octy-incident-another", b'{"choice":"dismiss"}')
NOTHING = {"encoding": b"binary/encrypted"}
FORMS: dict[str, list[list[Any]]] = {
    "without_content": [[]],
    "plaintext": [[claim] for claim in CLAIMS],
    "too_much_content": [[{}, {}], [CLAIMS[0], CLAIMS[1], "x"]],
    "nothing_that_claims_to_be_encrypted": [[RawValue(Payload(metadata=NOTHING, data=b"\0" * 40))]],
    "damaged_ciphertext": [[RawValue(Payload(metadata=OF_ANOTHER.metadata, data=OF_ANOTHER.data[:-1] + b"x"))]],
    "ciphertext_of_another_workflow": [[RawValue(OF_ANOTHER)]],
    "ciphertext_of_another_workflow_renamed": [[RawValue(RENAMED)]],
    "ciphertext_of_an_unknown_key": [
        [RawValue(Payload(metadata={**OF_ANOTHER.metadata, "encryption-key-id": b"k9"}, data=OF_ANOTHER.data))]
    ],
    "no_json": [[RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{\xff"))]],
    "no_encoding": [[RawValue(Payload(data=b"x"))]],
}


@dataclass(frozen=True)
class Kind:
    """A workflow: its input, the activity at which it waits here, and how it ends when something really is so."""

    run: Any
    case: Callable[[str], Any]
    before: list[str]
    after: list[str]
    result: Any
    waits_for: str = ""
    # What it asks of other workers than its own: each takes time to start and stop.
    works: tuple[TaskQueueKind, ...] = ()


async def really_answered(run: WorkflowRun) -> None:
    run.records.customer_says(Choice.DISMISS)
    await run.signal("customer_answered")


async def really_collected(run: WorkflowRun) -> None:
    run.records.collected_at = await run.now()
    await run.signal("keys_collected")


KINDS = {
    "incident": (
        Kind(
            KeyIncidentWorkflow.run,
            IncidentInput,
            ["note opened waiting", "mail alert-1"],
            ["close false_alarm"],
            "false_alarm",
            works=(TaskQueueKind.ALERTS,),
        ),
        really_answered,
    ),
    "regeneration": (
        Kind(
            KeyRegenerationWorkflow.run,
            RegenerationInput,
            ["issue", "prove", "activate", "mail new_keys-1"],
            ["finish done"],
            "done",
            works=(TaskQueueKind.MAILS,),
        ),
        really_collected,
    ),
    "notice": (
        Kind(
            KeyNoticeWorkflow.run,
            lambda subject: NoticeInput(subject, NoticeKind.EXPOSED),
            [],
            ["mail exposed-1"],
            "sent",
            "send_mail",
            works=(TaskQueueKind.NOTICES,),
        ),
        None,
    ),
    "webhook": (
        Kind(
            KeyWebhookWorkflow.run,
            lambda subject: WebhookInput(subject, "keys.ready"),
            [],
            ["post sent"],
            "sent",
            "post_webhook",
            works=(TaskQueueKind.WEBHOOKS,),
        ),
        None,
    ),
    "maintenance": (
        Kind(
            KeyMaintenanceWorkflow.run,
            lambda _subject: MaintenanceInput(MaintenanceTask.RETENTION),
            [],
            ["prune"],
            {"a": 1},
            "prune_database",
        ),
        None,
    ),
}


class Target:
    """One running workflow on a task queue of its own, whose worker and relay may have keys."""

    def __init__(self, harness: Harness, kind: Kind, keys: Keychain | None) -> None:
        self.harness, self.kind, self.keys = harness, kind, keys
        self.id = f"forged-{next(_numbers)}"
        held = {kind.waits_for: asyncio.Event()} if kind.waits_for else {}
        self.records = FakeRecords(slow=held, pieces=[MaintenanceStepResult(MaintenanceProgress.DONE, {"a": 1})])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[WorkflowRun]:
        fake_activities, client = self.harness.fake_activities, self.harness.client(self.keys, for_worker=True)
        own_workflow = [each for each in WORKFLOWS if each.run is self.kind.run]  # each takes time to be loaded
        worker = Worker(
            client,
            task_queue=self.id,
            workflows=own_workflow,
            activities=fake_activities.activities(),
            build_id=BUILD_ID,
        )
        async with worker, running_extra_workers(client, self.id, fake_activities, self.kind.works):
            yield await self.start()

    async def start(self) -> WorkflowRun:
        """Start the workflow, as the relay does."""
        given = {"client": self.harness.client(self.keys), "task_queue": self.id}
        return await self.harness.start(self.kind.run, self.kind.case(self.id), self.id, self.records, **given)

    async def forge(self, signal: str, contents: list[Any]) -> None:
        """Send a signal with a plain client, as the `temporal` command is one."""
        forger: WorkflowHandle[Any, Any] = self.harness.client(None).get_workflow_handle(self.id)
        if contents == [RawValue(RENAMED)]:
            named = {**RENAMED.metadata, "encryption-workflow-id": self.id.encode()}
            contents = [RawValue(Payload(metadata=named, data=RENAMED.data))]
        await forger.signal(signal, args=contents)


def lines(run: WorkflowRun) -> list[str]:
    return [line for line in run.records.lines if not line.startswith("refused ")]


def _was_told(run: WorkflowRun, signals: int) -> bool:
    """Return whether so many signals were handled: each is ignored or refused."""
    return len(run.records.ignored) + sum(" refused " in line for line in run.records.story) == signals


@pytest.mark.parametrize("keys", [None, KEYS], ids=["encryption_off", "encryption_on"])
@pytest.mark.parametrize("name", KINDS)
@on_harness
async def test_forged_signals_change_nothing_and_the_workflow_continues(
    harness: Harness, name: str, keys: Keychain | None
) -> None:
    """One workflow takes every form after the other: a workflow and a worker for each took four times as long.

    To a workflow that has signals each comes in every form; and with every claim to an incident, which reads orders'
    ids, with encryption, too. No other reads any content: there each claim comes under two of the names, and to a
    workflow without signals each form, too.
    """
    kind, really = KINDS[name]
    is_read = name == "incident"
    target = Target(harness, kind, keys)
    async with target.running() as run:
        await until_async(lambda: lines(run) == kind.before, message=run.records.story)
        sent, numbers = 0, itertools.count()
        for form, all_contents in FORMS.items():
            for contents in all_contents:
                every = 1 if is_read or (really and form != "plaintext") else EVERY
                signals = SIGNALS[next(numbers) % every :: every]
                await asyncio.gather(*(target.forge(signal, contents) for signal in signals))
                sent += len(signals)
            await until_async(partial(_was_told, run, sent), message=(form, run.records.ignored))
            await run.wait_until_idle(but=kind.waits_for)
            assert lines(run) == kind.before, form
            assert (await run.handle.describe()).close_time is None, form
        if really is None:
            run.records.slow[kind.waits_for].set()
        else:
            await really(run)
        assert await run.handle.result() == kind.result
        assert lines(run) == [*kind.before, *kind.after]
        history = await run.handle.fetch_history()
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    assert [event for event in history.events if event.event_type == failed] == []


@pytest.mark.parametrize("keys", [None, KEYS], ids=["encryption_off", "encryption_on"])
@on_harness
async def test_used_or_foreign_staff_order_changes_nothing(harness: Harness, keys: Keychain | None) -> None:
    """After an abandonment the question is open again; the old decision must not answer it a second time."""
    target = Target(harness, KINDS["incident"][0], keys)
    regenerate = StaffDecision("regenerate", "eve", "called them", order_id="d-2")
    async with target.running() as run:
        await run.wait_for_line("mail alert-1")
        await run.orders_by_signal(regenerate)
        await run.wait_for_line("note regenerating regenerating")
        await run.regeneration_ends("abandoned")
        await run.wait_for_line("note regeneration_abandoned needs_staff")
        before = lines(run)
        another = Target(harness, KINDS["incident"][0], keys)
        another.records.order(DAN)
        for order in ("d-2", "d-1"):
            for signal in ("staff_decision", "staff_extension", "staff_resend"):
                await target.forge(signal, [{"order": order}])
        await until_async(
            lambda: sum(" refused " in line for line in run.records.story) == 6, message=run.records.story
        )
        await run.wait_until_idle()
        assert lines(run) == before
        assert run.records.standing is None
        refused = [step.refused for step in run.records.inputs if isinstance(step, UseOrderInput)]
        assert sorted(refused) == list(range(6)), "each knows how many there were, so that a flood is only counted"


@on_harness
async def test_flood_of_forged_signals_does_not_delay_the_alert(harness: Harness) -> None:
    target = Target(harness, KINDS["incident"][0], None)
    target.records.late["load_incident_facts"] = slow = asyncio.Event()
    run = await target.start()
    for _ in range(50):
        await target.forge("customer_answered", [])
    slow.set()
    worker = Worker(
        harness.client(None),
        task_queue=target.id,
        workflows=WORKFLOWS,
        activities=harness.fake_activities.activities(),
        build_id=BUILD_ID,
    )
    async with worker, running_extra_workers(harness.client(None), target.id, harness.fake_activities):
        await run.wait_for_line("mail alert-1")
        await run.wait_until_idle()
        assert len(run.records.ignored) == 50
