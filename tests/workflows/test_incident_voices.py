"""Who may say what to a case, and when: refusals, repeats, races, and nonsense typed by hand."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from support.until import until_async
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import (
    DAY,
    HOUR,
    OpenRegenerationInput,
    RecordIncidentEventInput,
    RefusalReason,
    StatusResult,
)
from octy_workflows.staff_requests import STAFF_DECISION, Choice, StaffDecision
from workflows.workflow_stage import Play, Stage, played

EVE = StaffDecision("regenerate", "eve", "called them", decision_id="d-1")
DAN = StaffDecision("dismiss", "dan", "their own test", decision_id="d-2")
ADDRESS = "ada@example.com"
GOOD = {"decision": "dismiss", "actor": "dan", "reason": "their own test"}


MALFORMED = {
    "a_whole_decision": GOOD,
    "an_order_and_more": {"request": "o-1", **GOOD},
    "nothing": None,
    "list": ["o-1"],
    "empty_object": {},
    "number": {"request": 1},
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


async def refused(asking: Coroutine[Any, Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await asking
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def dismissed(play: Play) -> bool:
    """The case still works: staff can decide, and it ends."""
    await play.orders(DAN)
    return bool(await play.result() == "false_alarm")


def refusals(play: Play) -> list[str]:
    """Return why signals were refused, in the order in which they were sent."""
    loaded = [
        note
        for note in play.books.orders
        if isinstance(note, RecordIncidentEventInput) and note.event == "decision_refused"
    ]
    lines = (line.partition("refused decision_refused: ")[2] for line in play.books.story)
    return [*(str(note.detail["why"]) for note in loaded), *(line for line in lines if line)]


@played
async def test_malformed_updates_are_refused_with_a_reason_and_change_nothing(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    before = list(play.books.story)
    for name, said in MALFORMED.items():
        error = await refused(play.handle.execute_update(Case.decide, said))
        assert (name, error.type, "a request id" in error.message) == (name, "Invalid", True)
    for contents in UNREADABLE.values():
        await refused(play.handle.execute_update("decide", args=contents))
    assert play.books.story == before
    assert await dismissed(play)


@played
async def test_malformed_signals_are_reported_in_timeline_and_details(stage: Stage) -> None:
    play = await stage.incident()
    for said in MALFORMED.values():
        await play.handle.signal(STAFF_DECISION, said)
    await until_async(lambda: len(refusals(play)) == len(MALFORMED), message=play.books)
    assert all("a request id" in why for why in refusals(play))
    assert refusals(play)[-1] in await play.details()
    assert await dismissed(play)


@played
async def test_unreadable_signals_are_reported_in_timeline_and_details(stage: Stage) -> None:
    play = await stage.incident()
    for contents in UNREADABLE.values():
        await play.handle.signal(STAFF_DECISION, args=contents)
    await until_async(lambda: len(refusals(play)) == len(UNREADABLE), message=play.books)
    assert refusals(play)[-1] in await play.details()
    assert await dismissed(play)


@played
async def test_signal_of_an_unknown_name_is_reported_in_the_timeline(stage: Stage) -> None:
    play = await stage.incident()
    await play.handle.signal("staf_decision", play.books.order(DAN))
    await until_async(
        lambda: [one.reason for one in play.books.ignored] == [RefusalReason.UNKNOWN_NAME], message=play.books
    )
    assert "staff_decision" in await play.details()
    assert await dismissed(play)


@played
async def test_machine_signal_sent_by_hand_does_not_fail_the_workflow(stage: Stage) -> None:
    play = await stage.incident()
    for name in ("customer_answered", "failures_increased", "regeneration_finished"):
        await play.handle.signal(name, args=[])
        await play.handle.signal(name, args=[None, None])
    await until_async(lambda: len(play.books.ignored) == 6, message=play.books)
    assert {one.reason for one in play.books.ignored} == {RefusalReason.NO_ROW}
    assert await dismissed(play)


@played
async def test_decision_after_the_answer_is_refused_with_the_current_status(stage: Stage) -> None:
    play = await stage.incident()
    await play.answers(Choice.REGENERATE, leaked=True)
    await play.comes("note regenerating regenerating")
    error = await refused(play.orders(DAN))
    assert error.type == "TooLate"
    assert "regenerate, secret leaked, decided by customer" in error.message


@played
async def test_decision_after_the_close_is_refused(stage: Stage) -> None:
    play = await stage.incident()
    assert await dismissed(play)
    with pytest.raises(RPCError, match="already completed"):
        await play.orders(EVE)


@played
async def test_repeated_update_gets_its_result_after_the_close(stage: Stage) -> None:
    play = await stage.incident()
    first = await play.orders(DAN, id="d-2")
    await play.result()
    assert await play.orders(DAN, id="d-2") == first


@played
async def test_decision_is_refused_when_the_customer_was_first_in_sql(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    play.books.customer_says(Choice.REGENERATE)  # its signal is still on the way
    error = await refused(play.orders(DAN))
    assert error.type == "TooLate"
    assert "regenerate, decided by customer" in error.message
    await play.comes("regenerate")  # the answer that stands is acted on at once
    await play.told("customer_answered")
    again = await refused(play.orders(DAN))
    assert again.message == error.message
    assert [line for line in play.books.story if "regenerate" in line] == ["0h regenerate"]


@played
async def test_decision_signal_is_ignored_when_the_customer_was_first(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    play.books.customer_says(Choice.REGENERATE)
    await play.orders_by_signal(DAN)
    await play.comes("note decision_refused")
    assert "decided by customer" in refusals(play)[0]
    await play.comes("note regenerating regenerating")


@played
async def test_concurrent_decisions_of_staff_give_one_answer(stage: Stage) -> None:
    play = await stage.incident()
    deciding = (play.orders(decision) for decision in (EVE, DAN))
    reports = await asyncio.gather(*deciding, return_exceptions=True)
    assert sorted(isinstance(report, WorkflowUpdateFailedError) for report in reports) == [False, True]
    assert sum(isinstance(order, StaffDecision) for order in play.books.orders) == 1


@played
async def test_decision_sent_twice_at_once_is_one(stage: Stage) -> None:
    play = await stage.incident()
    deciding = (play.orders(DAN) for _ in range(2))
    first, second = await asyncio.gather(*deciding)
    assert first == second
    assert sum(isinstance(order, StaffDecision) for order in play.books.orders) == 1


@played
async def test_leak_reported_by_staff_reaches_sql_and_the_regeneration(stage: Stage) -> None:
    play = await stage.incident()
    await play.orders(StaffDecision("regenerate", "dan", "seen in a repository", leaked=True))
    await play.comes("regenerate leaked")


@played
async def test_regeneration_result_signaled_before_its_id_is_known_is_handled(stage: Stage) -> None:
    opening = asyncio.Event()
    play = await stage.incident(slow={"open_regeneration": opening}, regeneration_id="joined")
    await play.orders(EVE)
    await play.rest(but="open_regeneration")
    await play.regeneration_ends("done")
    opening.set()
    assert await play.result() == "regenerated"


@played
async def test_repeated_regeneration_result_is_not_used_for_the_next_regeneration(stage: Stage) -> None:
    play = await stage.incident()
    await play.orders(EVE)
    await play.comes("note regenerating regenerating")
    first = play.books.regeneration_id
    await play.regeneration_ends("abandoned")
    await play.comes("note regeneration_abandoned needs_staff")
    await play.orders(StaffDecision("regenerate", "dan", "once more"))
    await play.told("regeneration_finished")
    await play.until(DAY)
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "dan")

    orders = [order for order in play.books.orders if isinstance(order, OpenRegenerationInput)]
    assert [order.after for order in orders] == ["", first]
    assert play.books.regeneration_id != first
    await play.regeneration_ends("done")
    assert await play.result() == "regenerated"


async def overtaken(stage: Stage) -> tuple[Play, asyncio.Event, Coroutine[Any, Any, Any]]:
    """Staff decides, and before SQL is heard the customer's answer stands and is acted on."""
    taking = asyncio.Event()
    play = await stage.incident(slow={"record_decision": taking})
    order = play.books.order(DAN)
    deciding = await play.handle.start_update(Case.decide, order, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    return play, taking, deciding.result()


@played
async def test_decision_refused_before_the_abandonment_does_not_restore_the_old_answer(stage: Stage) -> None:
    play, taking, report = await overtaken(stage)
    play.books.late["record_decision"] = telling = asyncio.Event()
    taking.set()
    await play.comes("take dismiss of dan")  # SQL refuses it, and the workflow hears of that last of all
    await play.regeneration_ends("abandoned")
    await play.comes("note regeneration_abandoned needs_staff")
    telling.set()
    assert (await refused(report)).type == "TooLate"
    await play.rest()
    assert await play.handle.query(Case.status) == StatusResult("needs_staff", None, None)


@played
async def test_decision_recorded_after_the_abandonment_is_handled(stage: Stage) -> None:
    play, taking, report = await overtaken(stage)
    await play.regeneration_ends("abandoned")
    await play.comes("note regeneration_abandoned needs_staff")
    taking.set()
    assert (await report).accepted
    assert await play.result() == "false_alarm"


@played
async def test_customer_signal_after_an_accepted_decision_changes_nothing(stage: Stage) -> None:
    play = await stage.incident()
    await play.orders(EVE)
    await play.told("customer_answered")
    await play.comes("note regenerating regenerating")
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "eve")


@played
async def test_incident_waits_for_running_update_handlers(stage: Stage) -> None:
    noting = asyncio.Event()
    play = await stage.incident(slow={"failures_increased": noting})
    play.books.failures = 40
    await play.told("failures_increased")
    await play.rest(but="record_incident_event")
    await play.orders(DAN)
    await play.comes("close false_alarm")
    await play.rest(but="record_incident_event")
    assert (await play.handle.describe()).close_time is None
    noting.set()
    await play.result()
    await play.comes("note failures_increased")


@played
async def test_increased_failures_are_counted_and_shown(stage: Stage) -> None:
    play = await stage.incident()
    for failures in (40, 80, 80):
        play.books.failures = failures
        await play.told("failures_increased")
        await play.rest()
    await play.until(HOUR)
    notes = [
        note
        for note in play.books.orders
        if isinstance(note, RecordIncidentEventInput) and note.event == "failures_increased"
    ]
    assert [note.detail for note in notes] == [{"failures": 40}, {"failures": 80}]
    assert {note.key for note in notes} == {"failures_increased-40", "failures_increased-80"}
    assert "80 failed attempts in a row" in await play.details()


@played
async def test_status_and_details_show_the_state_of_the_incident(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    assert await play.handle.query(Case.status) == StatusResult("waiting", None, None)
    assert "Waiting for the customer's answer" in await play.details()
    await play.until(8 * DAY)
    assert await play.handle.query(Case.status) == StatusResult("needs_staff", None, None)
    details = await play.details()
    assert "Support staff is needed" in details
    assert "staff_decision" in details
    await play.orders(EVE)
    await play.comes("note regenerating regenerating")
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "eve")
    details = await play.details()
    assert play.books.regeneration_id in details
    assert "To decide" not in details
    await play.regeneration_ends("done")
    await play.result()
    assert await play.handle.query(Case.status) == StatusResult("closed", "regenerate", "eve")
    assert "Closed as regenerated" in await play.details()


@played
async def test_late_signal_is_audited_with_actor_request_and_reason(stage: Stage) -> None:
    play = await stage.incident()
    await play.orders(StaffDecision("regenerate", "ann", "phone call"))
    await play.orders_by_signal(StaffDecision("dismiss", "dan", "their own test", decision_id="late-1"))
    await play.comes("note decision_refused")
    [note] = [
        order
        for order in play.books.orders
        if isinstance(order, RecordIncidentEventInput) and order.event == "decision_refused"
    ]
    assert (note.actor, note.key) == (GOOD["actor"], "refused-late-1")
    assert note.detail["decision"] == GOOD["decision"]
    assert note.detail["reason"] == GOOD["reason"]
    assert "too late" in str(note.detail["why"])
