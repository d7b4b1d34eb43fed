"""Signals and updates to an incident: refusals, repeats, races, and malformed input."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from support.until import until_async
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.service import RPCError

from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    DAY,
    HOUR,
    OpenRegenerationInput,
    RefusalReason,
    StatusResult,
)
from octy_workflows.order_content import STAFF_DECISION, Choice, StaffDecision
from workflows.workflow_harness import Harness, WorkflowRun, on_harness, refused

EVE = StaffDecision("regenerate", "eve", "called them", order_id="d-1")
DAN = StaffDecision("dismiss", "dan", "their own test", order_id="d-2")
ADDRESS = "ada@example.com"
GOOD = {"decision": "dismiss", "actor": "dan", "reason": "their own test"}


MALFORMED = {
    "a_whole_decision": GOOD,
    "an_order_and_more": {"order": "o-1", **GOOD},
    "nothing": None,
    "list": ["o-1"],
    "empty_object": {},
    "number": {"order": 1},
    "no_id": "a b",
    "too_long": "x" * 65,
    "address": ADDRESS,
}
UNREADABLE: dict[str, list[Any]] = {
    "not_json": [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{decision:"))],
    "not_utf8": [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"\xff\xfe"))],
    "bytes": [RawValue(Payload(metadata={"encoding": b"binary/plain"}, data=b"dismiss"))],
    "unknown_encoding": [RawValue(Payload(metadata={"encoding": b"refused/plaintext"}, data=b"x"))],
    "encoding_not_text": [RawValue(Payload(metadata={"encoding": b"\xff"}, data=b"x"))],
    "no_encoding": [RawValue(Payload(data=b"x"))],
    "no_content": [],
    "two_contents": [GOOD, GOOD],
}


async def dismissed(run: WorkflowRun) -> bool:
    """The incident still works: staff can decide, and it ends."""
    await run.orders(DAN)
    return bool(await run.result() == "false_alarm")


def refusals(run: WorkflowRun) -> list[str]:
    """Return why signals were refused, in the order in which they were sent."""
    lines = (line.partition("refused decision_refused: ")[2] for line in run.records.lines)
    loaded = run.records.events("decision_refused")
    return [*(str(note.detail["why"]) for note in loaded), *(line for line in lines if line)]


@on_harness
async def test_malformed_updates_are_refused_with_a_reason_and_change_nothing(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    before = list(run.records.story)
    for name, said in MALFORMED.items():
        error = await refused(run.handle.execute_update(KeyIncidentWorkflow.decide, said))
        assert (name, error.type, "an order id" in error.message) == (name, "Invalid", True)
    for contents in UNREADABLE.values():
        await refused(run.handle.execute_update("decide", args=contents))
    assert run.records.story == before
    assert await dismissed(run)


@on_harness
async def test_malformed_signals_are_reported_in_timeline_and_details(harness: Harness) -> None:
    run = await harness.incident()
    for said in MALFORMED.values():
        await run.handle.signal(STAFF_DECISION, said)
    await until_async(lambda: len(refusals(run)) == len(MALFORMED), message=run.records)
    assert all("an order id" in why for why in refusals(run))
    assert refusals(run)[-1] in await run.details()
    assert await dismissed(run)


@on_harness
async def test_unreadable_signals_are_reported_in_timeline_and_details(harness: Harness) -> None:
    run = await harness.incident()
    for contents in UNREADABLE.values():
        await run.handle.signal(STAFF_DECISION, args=contents)
    await until_async(lambda: len(refusals(run)) == len(UNREADABLE), message=run.records)
    assert refusals(run)[-1] in await run.details()
    assert await dismissed(run)


@on_harness
async def test_signal_of_an_unknown_name_is_reported_in_the_timeline(harness: Harness) -> None:
    run = await harness.incident()
    await run.handle.signal("staf_decision", run.records.order(DAN))
    await until_async(
        lambda: [one.reason for one in run.records.ignored] == [RefusalReason.UNKNOWN_NAME], message=run.records
    )
    assert "staff_decision" in await run.details()
    assert await dismissed(run)


@on_harness
async def test_machine_signal_sent_by_hand_does_not_fail_the_workflow(harness: Harness) -> None:
    run = await harness.incident()
    for name in ("customer_answered", "failures_increased", "regeneration_finished"):
        await run.handle.signal(name, args=[])
        await run.handle.signal(name, args=[None, None])
    await until_async(lambda: len(run.records.ignored) == 6, message=run.records)
    assert {one.reason for one in run.records.ignored} == {RefusalReason.NO_ROW}
    assert await dismissed(run)


@on_harness
async def test_decision_after_the_answer_is_refused_with_the_current_status(harness: Harness) -> None:
    run = await harness.incident()
    await run.answers(Choice.REGENERATE, leaked=True)
    await run.wait_for_line("note regenerating regenerating")
    error = await refused(run.orders(DAN))
    assert error.type == "TooLate"
    assert "regenerate, secret leaked, decided by customer" in error.message


@on_harness
async def test_decision_after_the_close_is_refused(harness: Harness) -> None:
    run = await harness.incident()
    assert await dismissed(run)
    with pytest.raises(RPCError, match="already completed"):
        await run.orders(EVE)


@on_harness
async def test_repeated_update_gets_its_result_after_the_close(harness: Harness) -> None:
    run = await harness.incident()
    first = await run.orders(DAN, id="d-2")
    await run.result()
    assert await run.orders(DAN, id="d-2") == first


@on_harness
async def test_decision_is_refused_when_the_customer_was_first_in_sql(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    run.records.customer_says(Choice.REGENERATE)  # its signal is still on the way
    error = await refused(run.orders(DAN))
    assert error.type == "TooLate"
    assert "regenerate, decided by customer" in error.message
    await run.wait_for_line("regenerate")  # the answer that stands is acted on at once
    await run.signal("customer_answered")
    again = await refused(run.orders(DAN))
    assert again.message == error.message
    assert [line for line in run.records.story if "regenerate" in line] == ["0h regenerate"]


@on_harness
async def test_decision_signal_is_ignored_when_the_customer_was_first(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    run.records.customer_says(Choice.REGENERATE)
    await run.orders_by_signal(DAN)
    await run.wait_for_line("note decision_refused")
    assert "decided by customer" in refusals(run)[0]
    await run.wait_for_line("note regenerating regenerating")


@on_harness
async def test_concurrent_decisions_of_staff_give_one_answer(harness: Harness) -> None:
    run = await harness.incident()
    deciding = (run.orders(decision) for decision in (EVE, DAN))
    reports = await asyncio.gather(*deciding, return_exceptions=True)
    assert sorted(isinstance(report, WorkflowUpdateFailedError) for report in reports) == [False, True]
    assert sum(isinstance(step, StaffDecision) for step in run.records.inputs) == 1


@on_harness
async def test_decision_sent_twice_at_once_is_one(harness: Harness) -> None:
    run = await harness.incident()
    deciding = (run.orders(DAN) for _ in range(2))
    first, second = await asyncio.gather(*deciding)
    assert first == second
    assert sum(isinstance(step, StaffDecision) for step in run.records.inputs) == 1


@on_harness
async def test_leak_reported_by_staff_reaches_sql_and_the_regeneration(harness: Harness) -> None:
    run = await harness.incident()
    await run.orders(StaffDecision("regenerate", "dan", "seen in a repository", leaked=True))
    await run.wait_for_line("regenerate leaked")


@on_harness
async def test_regeneration_result_signaled_before_its_id_is_known_is_handled(harness: Harness) -> None:
    opening = asyncio.Event()
    run = await harness.incident(slow={"open_regeneration": opening}, regeneration_id="joined")
    await run.orders(EVE)
    await run.wait_until_idle(but="open_regeneration")
    await run.regeneration_ends("done")
    opening.set()
    assert await run.result() == "regenerated"


@on_harness
async def test_repeated_regeneration_result_is_not_used_for_the_next_regeneration(harness: Harness) -> None:
    run = await harness.incident()
    await run.orders(EVE)
    await run.wait_for_line("note regenerating regenerating")
    first = run.records.regeneration_id
    await run.regeneration_ends("abandoned")
    await run.wait_for_line("note regeneration_abandoned needs_staff")
    await run.orders(StaffDecision("regenerate", "dan", "once more"))
    await run.signal("regeneration_finished")
    await run.advance_to(DAY)
    assert await run.status() == StatusResult("regenerating", "regenerate", "dan")

    steps = [step for step in run.records.inputs if isinstance(step, OpenRegenerationInput)]
    assert [step.after for step in steps] == ["", first]
    assert run.records.regeneration_id != first
    await run.regeneration_ends("done")
    assert await run.result() == "regenerated"


async def overtaken(harness: Harness) -> tuple[WorkflowRun, asyncio.Event, Coroutine[Any, Any, Any]]:
    """Staff decides, and before SQL is heard the customer's answer stands and is acted on."""
    taking = asyncio.Event()
    run = await harness.incident(slow={"record_decision": taking})
    order = run.records.order(DAN)
    deciding = await run.start_update(KeyIncidentWorkflow.decide, order)
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    return run, taking, deciding.result()


@on_harness
async def test_decision_refused_before_the_abandonment_does_not_restore_the_old_answer(harness: Harness) -> None:
    run, taking, report = await overtaken(harness)
    run.records.late["record_decision"] = recorded = asyncio.Event()
    taking.set()
    await run.wait_for_line("take dismiss of dan")  # SQL refuses it, and the workflow hears of that last of all
    await run.regeneration_ends("abandoned")
    await run.wait_for_line("note regeneration_abandoned needs_staff")
    recorded.set()
    assert (await refused(report)).type == "TooLate"
    await run.wait_until_idle()
    assert await run.status() == StatusResult("needs_staff", None, None)


@on_harness
async def test_decision_recorded_after_the_abandonment_is_handled(harness: Harness) -> None:
    run, taking, report = await overtaken(harness)
    await run.regeneration_ends("abandoned")
    await run.wait_for_line("note regeneration_abandoned needs_staff")
    taking.set()
    assert (await report).accepted
    assert await run.result() == "false_alarm"


@on_harness
async def test_customer_signal_after_an_accepted_decision_changes_nothing(harness: Harness) -> None:
    run = await harness.incident()
    await run.orders(EVE)
    await run.signal("customer_answered")
    await run.wait_for_line("note regenerating regenerating")
    assert await run.status() == StatusResult("regenerating", "regenerate", "eve")


@on_harness
async def test_incident_waits_for_running_update_handlers(harness: Harness) -> None:
    noting = asyncio.Event()
    run = await harness.incident(slow={"failures_increased": noting})
    run.records.failures = 40
    await run.signal("failures_increased")
    await run.wait_until_idle(but="record_incident_event")
    await run.orders(DAN)
    await run.wait_for_line("close false_alarm")
    await run.wait_until_idle(but="record_incident_event")
    assert (await run.handle.describe()).close_time is None
    noting.set()
    await run.result()
    await run.wait_for_line("note failures_increased")


@on_harness
async def test_increased_failures_are_counted_and_shown(harness: Harness) -> None:
    run = await harness.incident()
    for failures in (40, 80, 80):
        run.records.failures = failures
        await run.signal("failures_increased")
        await run.wait_until_idle()
    await run.advance_to(HOUR)
    notes = run.records.events("failures_increased")
    assert [note.detail for note in notes] == [{"failures": 40}, {"failures": 80}]
    assert {note.key for note in notes} == {"failures_increased-40", "failures_increased-80"}
    assert "80 failed attempts in a row" in await run.details()


@on_harness
async def test_status_and_details_show_the_state_of_the_incident(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    assert await run.status() == StatusResult("waiting", None, None)
    assert "Waiting for the customer's answer" in await run.details()
    await run.advance_to(8 * DAY)
    assert await run.status() == StatusResult("needs_staff", None, None)
    details = await run.details()
    assert "Support staff is needed" in details
    assert "staff_decision" in details
    await run.orders(EVE)
    await run.wait_for_line("note regenerating regenerating")
    assert await run.status() == StatusResult("regenerating", "regenerate", "eve")
    details = await run.details()
    assert run.records.regeneration_id in details
    assert "To decide" not in details
    await run.regeneration_ends("done")
    await run.result()
    assert await run.status() == StatusResult("closed", "regenerate", "eve")
    assert "Closed as regenerated" in await run.details()


@on_harness
async def test_late_signal_is_audited_with_actor_request_and_reason(harness: Harness) -> None:
    run = await harness.incident()
    await run.orders(StaffDecision("regenerate", "ann", "phone call"))
    await run.orders_by_signal(StaffDecision("dismiss", "dan", "their own test", order_id="late-1"))
    await run.wait_for_line("note decision_refused")
    [note] = run.records.events("decision_refused")
    assert (note.actor, note.key) == (GOOD["actor"], "refused-late-1")
    assert note.detail["decision"] == GOOD["decision"]
    assert note.detail["reason"] == GOOD["reason"]
    assert "too late" in str(note.detail["why"])
