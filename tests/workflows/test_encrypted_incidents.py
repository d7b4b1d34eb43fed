"""Incidents with encrypted payloads on a real server: what its history shows, changed keys, and plaintext.

Workers keep no workflow in memory here: each task replays the whole history, so whatever is decided about a payload
must be decided the same way again.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from google.protobuf.message import Message
from support.until import until_async
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from octy_middleware.keys.keychain import Keychain
from octy_worker.temporal.codec import DecryptionError, encrypting_converter
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import IncidentInput
from octy_workflows.order_content import STAFF_DECISION, Choice, StaffDecision
from workflows.workflow_fakes import FakeRecords
from workflows.workflow_harness import (
    BUILD_ID,
    WORKFLOWS,
    Harness,
    WorkflowRun,
    on_harness,
    replayer,
    running_extra_workers,
)

K1 = Keychain({"k1": b"\x01" * 32})
K1_K2 = Keychain({**K1, "k2": b"\x02" * 32})
K2 = Keychain({"k2": b"\x02" * 32})
DAN = StaffDecision("dismiss", "dan", "their own test", order_id="d-1")
OPENED = ["0h note opened waiting", "0h mail alert-1"]


class EncryptedIncident:
    """One incident, on a task queue of its own, and workers and clients of any keys."""

    def __init__(self, harness: Harness, name: str) -> None:
        self.harness = harness
        self.id = f"encrypted-{name}"
        self.records = FakeRecords()

    def case(self, keys: Keychain | None) -> WorkflowHandle:
        return self.harness.client(keys).get_workflow_handle(self.id)

    async def start(self, keys: Keychain | None) -> WorkflowHandle:
        run = await self.harness.start(
            KeyIncidentWorkflow.run,
            IncidentInput(self.id),
            self.id,
            self.records,
            client=self.harness.client(keys),
            task_queue=self.id,
            task_timeout=timedelta(seconds=1),  # for a task that a worker without the key took at its end
        )
        return run.handle

    @asynccontextmanager
    async def worker(self, keys: Keychain | None) -> AsyncIterator[None]:
        worker = Worker(
            self.harness.client(keys, for_worker=True),
            task_queue=self.id,
            workflows=WORKFLOWS,
            activities=self.harness.fake_activities.activities(),
            max_cached_workflows=0,
            max_concurrent_workflow_task_polls=1,
            max_concurrent_workflow_tasks=1,
            build_id=BUILD_ID,
        )
        async with worker, running_extra_workers(self.harness.client(keys), self.id, self.harness.fake_activities):
            yield

    async def wait_until_idle(self) -> None:
        """Wait until nothing goes on: a task that is handed to a worker at its end is missed for ten seconds."""
        await WorkflowRun(self.harness.env, self.case(None), self.records, self.harness.task_threads).wait_until_idle()

    async def check_story(self, *lines: str) -> None:
        await until_async(lambda: self.records.story == [*OPENED, *lines], message=self.records.story)
        await self.wait_until_idle()

    async def payloads(self) -> list[Payload]:
        """Return every payload of the history but search attributes, which Temporal itself must read."""
        history = await self.case(None).fetch_history()
        return [payload for event in history.events for payload in payloads_in(event)]

    async def replays(self, keys: Keychain | None) -> None:
        history = await self.case(keys).fetch_history()
        data_converter = self.harness.client(keys, for_worker=True).data_converter
        await replayer(data_converter).replay_workflow(history)


def payloads_in(message: Message) -> Iterator[Payload]:
    for field, value in message.ListFields():
        if field.name == "search_attributes":
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = list(value.values())
        else:
            values = list(value) if field.is_repeated else [value]
        for found in values:
            if isinstance(found, Payload):
                yield found
            elif isinstance(found, Message):
                yield from payloads_in(found)


def key_ids(payloads: list[Payload]) -> set[str]:
    return {payload.metadata.get("encryption-key-id", b"none").decode() for payload in payloads}


@on_harness
async def test_incident_history_is_encrypted_from_input_to_result_and_replays(harness: Harness) -> None:
    encrypted = EncryptedIncident(harness, "whole")
    encrypted.records.broken.add("send_mail")  # a failure is in the history, too
    case = await encrypted.start(K1)
    async with encrypted.worker(K1):
        await until_async(
            lambda: "0h note mail_failed needs_staff" in encrypted.records.story, message=encrypted.records.story
        )
        await case.execute_update(KeyIncidentWorkflow.decide, encrypted.records.order(DAN))
        assert await case.result() == "false_alarm"
    payloads = await encrypted.payloads()
    assert key_ids(payloads) == {"k1"}
    assert len(payloads) > 10
    history = await case.fetch_history()
    for plain in ("their own test", "send_mail failed for good", "dismiss", "Traceback", "false_alarm"):
        assert plain not in history.to_json()
        assert plain.encode() not in b"".join(event.SerializeToString() for event in history.events)
    await encrypted.replays(K1)


@on_harness
async def test_plaintext_to_an_encrypted_incident_is_refused_except_order_ids(harness: Harness) -> None:
    encrypted = EncryptedIncident(harness, "typed")
    case, typed = await encrypted.start(K1), encrypted.case(None)
    async with encrypted.worker(K1):
        await encrypted.check_story()
        await typed.signal(STAFF_DECISION, {"decision": "dismiss", "actor": "dan", "reason": "no"})
        why = "it is not encrypted; without encryption only an order id from `octy incidents` is accepted"
        refused = f"0h refused decision_refused: {why}"
        await encrypted.check_story(refused)
        with pytest.raises(DecryptionError, match="OCTY_TEMPORAL_KEYS lacks the key 'k1'"):
            await typed.execute_update(KeyIncidentWorkflow.decide, DAN)  # refused, in words that are encrypted
        await encrypted.check_story(refused)
        await typed.signal(STAFF_DECISION, encrypted.records.order(DAN))
        assert await case.result() == "false_alarm"
    await encrypted.check_story(refused, "0h take dismiss of dan", "0h close false_alarm")
    await encrypted.replays(K1)


@on_harness
async def test_signal_has_the_same_effect_whether_a_replay_can_read_it_or_not(harness: Harness) -> None:
    """Workers with other keys replay the same history: what they can't read must not lead another way."""
    encrypted = EncryptedIncident(harness, "replayed")
    await encrypted.start(K1)
    async with encrypted.worker(K1):
        await encrypted.check_story()
        await encrypted.case(K2).signal(
            STAFF_DECISION, encrypted.records.order(DAN)
        )  # under a key that is not there yet
        await encrypted.case(K2).signal("customer_answered", "anything")
        await until_async(lambda: len(encrypted.records.ignored) == 1, message=encrypted.records.ignored)
        await encrypted.wait_until_idle()
    await encrypted.replays(K1)
    await encrypted.replays(K1_K2)


@on_harness
async def test_keys_are_rotated_while_an_incident_waits(harness: Harness) -> None:
    encrypted = EncryptedIncident(harness, "rotated")
    await encrypted.start(K1)
    async with encrypted.worker(K1):
        await encrypted.check_story()
    async with encrypted.worker(K1_K2):
        await encrypted.case(K1_K2).execute_update(KeyIncidentWorkflow.decide, encrypted.records.order(DAN))
        assert await encrypted.case(K1_K2).result() == "false_alarm"
    assert key_ids(await encrypted.payloads()) == {"k1", "k2"}
    await encrypted.replays(K1_K2)


@pytest.mark.parametrize("keys", [K2, None], ids=["the_old_key_is_gone", "all_keys_are_gone"])
@on_harness
async def test_missing_key_is_named_and_signals_are_handled_when_it_is_back(
    harness: Harness, caplog: pytest.LogCaptureFixture, keys: Keychain | None
) -> None:
    encrypted = EncryptedIncident(harness, f"missing-{'all' if keys is None else 'one'}")
    case = await encrypted.start(K1)
    async with encrypted.worker(K1):
        await encrypted.check_story()
    encrypted.records.customer_says(Choice.DISMISS)
    await case.signal("customer_answered")
    async with encrypted.worker(keys):
        said = await failed_task(case, keys)
    assert "refused/unknown-key:k1" in said
    assert (
        "OCTY_TEMPORAL_KEYS lacks the key 'k1' with which a workflow's payload is encrypted: add it again"
        in caplog.text
    )
    assert encrypted.records.story == OPENED
    async with encrypted.worker(K1_K2):
        assert await encrypted.case(K1_K2).result() == "false_alarm"
    await encrypted.check_story("0h close false_alarm")


async def failed_task(case: WorkflowHandle, keys: Keychain | None) -> str:
    """Wait for a workflow task that failed; return why, as those read it who hold these keys."""

    async def failed() -> str:
        for event in (await case.fetch_history()).events:
            if event.HasField("workflow_task_failed_event_attributes"):
                failure = event.workflow_task_failed_event_attributes.failure
                await encrypting_converter(keys, secrets.token_bytes).payload_codec.decode_failure(failure)
                return f"{failure} {failure.encoded_attributes.data} {failure.cause.encoded_attributes.data}"
        return ""

    return await until_async(failed)
