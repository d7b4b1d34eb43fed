"""Who may say what to a case, and when: refusals, repeats, races, and nonsense typed by hand."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import (
    DAY,
    HOUR,
    STAFF_DECISION,
    Choice,
    DecisionOrder,
    Growth,
    IncidentNote,
    IncidentStatus,
    RegenerationEnd,
    StaffDecision,
)
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from workflow_stage import Play, Stage, played

EVE = StaffDecision("regenerate", "eve", "called them", decision_id="d-1")
DAN = StaffDecision("dismiss", "dan", "their own test", decision_id="d-2")
ADDRESS = "ada@example.com"
GOOD = {"decision": "dismiss", "actor": "dan", "reason": "their own test"}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


MALFORMED: list[tuple[str, Any, str]] = [
    ("text", "dismiss", "a JSON object"),
    ("number", 7, "a JSON object"),
    ("nothing", None, "a JSON object"),
    ("list", [GOOD], "a JSON object"),
    ("empty_object", {}, "decision is missing"),
    ("no_decision", without("decision"), "decision is missing"),
    ("no_actor", without("actor"), "actor is missing"),
    ("no_reason", without("reason"), "reason is missing"),
    ("unknown_decision", GOOD | {"decision": "dismis"}, "must be one of: regenerate, dismiss"),
    ("decision_of_wrong_type", GOOD | {"decision": ["dismiss"]}, "decision must be text"),
    ("actor_of_wrong_type", GOOD | {"actor": 7}, "actor must be text"),
    ("reason_of_wrong_type", GOOD | {"reason": None}, "reason must be text"),
    ("leaked_as_text", GOOD | {"leaked": "yes"}, "leaked must be true or false"),
    ("leaked_mistyped", GOOD | {"decision": "regenerate", "laeked": True}, "no other fields"),
    ("actor_with_address", GOOD | {"actor": ADDRESS}, "actor must be a staff id"),
    ("actor_system", GOOD | {"actor": "system"}, "actor must be a staff id"),
    ("actor_customer", GOOD | {"actor": "customer"}, "actor must be a staff id"),
    ("blank_reason", GOOD | {"reason": "  "}, "a reason is needed"),
    ("reason_with_address", GOOD | {"reason": f"asked {ADDRESS}"}, "no mail address"),
    ("reason_with_secret", GOOD | {"reason": "they sent sk_4fzQ"}, "no secret key"),
    ("reason_of_two_lines", GOOD | {"reason": "one\ntwo"}, "one line"),
    ("reason_with_escape", GOOD | {"reason": "\x1b[2J"}, "printable"),
    ("reason_too_long", GOOD | {"reason": "x" * 301}, "at most 300"),
    ("dismissed_though_leaked", GOOD | {"leaked": True}, "can't be dismissed"),
    ("decision_id_with_address", GOOD | {"decision_id": ADDRESS}, "decision_id must be"),
]
UNREADABLE = [
    ("not_json", [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{decision:"))]),
    ("not_utf8", [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"\xff\xfe"))]),
    ("bytes", [RawValue(Payload(metadata={"encoding": b"binary/plain"}, data=b"dismiss"))]),
    ("unknown_encoding", [RawValue(Payload(metadata={"encoding": b"refused/plaintext"}, data=b"x"))]),
    ("encoding_not_text", [RawValue(Payload(metadata={"encoding": b"\xff"}, data=b"x"))]),
    ("no_encoding", [RawValue(Payload(data=b"x"))]),
    ("no_content", []),
    ("two_contents", [GOOD, GOOD]),
]


async def refused(asking: Coroutine[Any, Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await asking
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def dismissed(play: Play) -> bool:
    """The case still works: staff can decide, and it ends."""
    await play.handle.execute_update(Case.decide, DAN)
    return bool(await play.result() == "false_alarm")


def refusals(play: Play) -> list[str]:
    notes = (order for order in play.books.orders if isinstance(order, IncidentNote))
    return [str(note.detail["why"]) for note in notes if note.what == "decision_refused"]


@pytest.mark.parametrize(("said", "why"), [pytest.param(*rest, id=name) for name, *rest in MALFORMED])
@played
async def test_a_malformed_decision_is_refused_with_a_reason(stage: Stage, said: Any, why: str) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    before = (await play.handle.describe()).history_length

    error = await refused(play.handle.execute_update(Case.decide, said))
    assert (why in error.message, error.type) == (True, "Invalid")
    assert (await play.handle.describe()).history_length == before  # the one that audits it is who sent it

    await play.handle.signal(STAFF_DECISION, said)
    await play.comes("note decision_refused")
    [noted] = refusals(play)
    assert noted == error.message
    assert noted in await play.details()
    assert ADDRESS not in noted
    assert await dismissed(play)


@pytest.mark.parametrize("contents", [pytest.param(contents, id=name) for name, contents in UNREADABLE])
@played
async def test_an_unreadable_signal_is_answered_in_the_timeline(stage: Stage, contents: list[Any]) -> None:
    play = await stage.incident()
    await play.handle.signal(STAFF_DECISION, args=contents)
    await play.comes("note decision_refused")
    [noted] = refusals(play)
    assert noted in await play.details()
    assert await dismissed(play)


@played
async def test_a_signal_of_an_unknown_name_is_answered_in_the_timeline(stage: Stage) -> None:
    play = await stage.incident()
    await play.handle.signal("staf_decision", GOOD)
    await play.comes("note decision_refused")
    assert "staff_decision" in refusals(play)[0]
    assert await dismissed(play)


@pytest.mark.parametrize("contents", [[], [None, None]], ids=["no_content", "two_contents"])
@pytest.mark.parametrize("name", ["customer_answered", "attempts_grew", "regeneration_finished"])
@played
async def test_a_machine_signal_sent_by_hand_does_not_kill_the_case(
    stage: Stage, name: str, contents: list[Any]
) -> None:
    play = await stage.incident()
    await play.handle.signal(name, args=contents)
    assert f"A signal came with {len(contents)} contents" in await play.details()
    assert await dismissed(play)


@pytest.mark.parametrize("contents", [[], [GOOD, GOOD]], ids=["no_content", "two_contents"])
@played
async def test_an_update_with_wrong_contents_is_refused(stage: Stage, contents: list[Any]) -> None:
    play = await stage.incident()
    await refused(play.handle.execute_update("decide", args=contents))
    assert await dismissed(play)


@played
async def test_a_decision_after_the_answer_is_refused_and_told_what_stands(stage: Stage) -> None:
    play = await stage.incident()
    await play.handle.signal(Case.customer_answered, play.books.customer_says(Choice.REGENERATE, leaked=True))
    await play.comes("note regenerating regenerating")
    error = await refused(play.handle.execute_update(Case.decide, DAN))
    assert error.type == "TooLate"
    assert "regenerate, the secret leaked, decided by customer" in error.message


@played
async def test_a_decision_after_the_close_is_refused(stage: Stage) -> None:
    play = await stage.incident()
    assert await dismissed(play)
    with pytest.raises(RPCError, match="already completed"):
        await play.handle.execute_update(Case.decide, EVE)


@played
async def test_a_repeated_update_gets_its_report_even_after_the_close(stage: Stage) -> None:
    play = await stage.incident()
    first = await play.handle.execute_update(Case.decide, DAN, id="d-2")
    await play.result()
    assert await play.handle.execute_update(Case.decide, DAN, id="d-2") == first


@played
async def test_the_customer_was_faster_in_sql(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    answer = play.books.customer_says(Choice.REGENERATE)  # its signal is still on the way
    error = await refused(play.handle.execute_update(Case.decide, DAN))
    assert error.type == "TooLate"
    assert "regenerate, decided by customer" in error.message
    await play.comes("regenerate")  # the answer that stands is acted on at once
    await play.handle.signal(Case.customer_answered, answer)
    again = await refused(play.handle.execute_update(Case.decide, DAN))
    assert again.message == error.message
    assert [line for line in play.books.story if "regenerate" in line] == ["0h regenerate"]


@played
async def test_the_customer_was_faster_than_a_signal_of_staff(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    play.books.customer_says(Choice.REGENERATE)
    await play.handle.signal(STAFF_DECISION, DAN)
    await play.comes("note decision_refused")
    assert "decided by customer" in refusals(play)[0]
    await play.comes("note regenerating regenerating")


@played
async def test_two_of_staff_decide_at_once_and_one_stands(stage: Stage) -> None:
    play = await stage.incident()
    deciding = (play.handle.execute_update(Case.decide, decision) for decision in (EVE, DAN))
    reports = await asyncio.gather(*deciding, return_exceptions=True)
    assert sorted(isinstance(report, WorkflowUpdateFailedError) for report in reports) == [False, True]
    assert sum(isinstance(order, DecisionOrder) for order in play.books.orders) == 1


@played
async def test_one_decision_sent_twice_at_once_is_one(stage: Stage) -> None:
    play = await stage.incident()
    deciding = (play.handle.execute_update(Case.decide, DAN) for _ in range(2))
    first, second = await asyncio.gather(*deciding)
    assert first == second
    assert sum(isinstance(order, DecisionOrder) for order in play.books.orders) == 1


@played
async def test_a_decision_without_id_gets_one(stage: Stage) -> None:
    play = await stage.incident()
    await play.handle.execute_update(Case.decide, GOOD)
    [order] = (order for order in play.books.orders if isinstance(order, DecisionOrder))
    assert order.decision.decision_id
    assert (order.decision.actor, order.decision.leaked, order.after) == ("dan", False, "")


@played
async def test_a_leak_reported_by_staff_reaches_sql_and_the_regeneration(stage: Stage) -> None:
    play = await stage.incident()
    await play.handle.execute_update(Case.decide, {**GOOD, "decision": "regenerate", "leaked": True})
    await play.comes("regenerate leaked")
    [order] = (order for order in play.books.orders if isinstance(order, DecisionOrder))
    assert order.decision.leaked


@played
async def test_an_ending_told_before_the_id_is_known(stage: Stage) -> None:
    opening = asyncio.Event()
    play = await stage.incident(slow={"open_regeneration": opening}, regeneration_id="joined")
    await play.handle.execute_update(Case.decide, EVE)
    await play.handle.signal(Case.regeneration_finished, RegenerationEnd("joined", "done"))
    opening.set()
    assert await play.result() == "regenerated"


@played
async def test_a_repeated_ending_is_not_taken_for_that_of_the_next_regeneration(stage: Stage) -> None:
    play = await stage.incident()
    await play.handle.execute_update(Case.decide, EVE)
    await play.comes("note regenerating regenerating")
    first = RegenerationEnd(play.books.regeneration_id, "abandoned")
    await play.handle.signal(Case.regeneration_finished, first)
    await play.comes("note regeneration_abandoned needs_staff")
    await play.handle.execute_update(Case.decide, {**GOOD, "decision": "regenerate"})
    await play.handle.signal(Case.regeneration_finished, first)
    await play.until(DAY)
    assert await play.handle.query(Case.status) == IncidentStatus("regenerating", "regenerate", "dan")

    orders = [order for order in play.books.orders if hasattr(order, "after")]
    after = first.regeneration_id
    assert [order.after for order in orders] == ["", "", after, after]
    second = RegenerationEnd(play.books.regeneration_id, "done")
    assert second.regeneration_id != first.regeneration_id
    await play.handle.signal(Case.regeneration_finished, second)
    assert await play.result() == "regenerated"


@played
async def test_a_decision_overtaken_by_a_whole_regeneration_decides_nothing(stage: Stage) -> None:
    taking = asyncio.Event()
    play = await stage.incident(slow={"take_decision": taking})
    deciding = asyncio.create_task(play.handle.execute_update(Case.decide, DAN))
    await play.handle.signal(Case.customer_answered, play.books.customer_says(Choice.REGENERATE))
    await play.comes("note regenerating regenerating")
    end = RegenerationEnd(play.books.regeneration_id, "abandoned")
    await play.handle.signal(Case.regeneration_finished, end)
    await play.comes("note regeneration_abandoned needs_staff")
    taking.set()
    with pytest.raises(WorkflowUpdateFailedError):
        await deciding
    assert await play.handle.query(Case.status) == IncidentStatus("needs_staff", None, None)


@played
async def test_growth_is_counted_and_shown(stage: Stage) -> None:
    play = await stage.incident()
    for failures in (40, 80, 80):
        await play.handle.signal(Case.attempts_grew, Growth(failures))
    await play.until(HOUR)
    notes = [note for note in play.books.orders if isinstance(note, IncidentNote) and note.what == "attempts_grew"]
    assert [note.detail for note in notes] == [{"failures": 40}, {"failures": 80}, {"failures": 80}]
    assert {note.key for note in notes} == {"attempts_grew-40", "attempts_grew-80"}
    assert "80 failed attempts in a row" in await play.details()


@played
async def test_status_and_details_tell_where_the_case_stands(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    assert await play.handle.query(Case.status) == IncidentStatus("waiting", None, None)
    assert "Waiting for the customer's answer" in await play.details()
    await play.until(8 * DAY)
    assert await play.handle.query(Case.status) == IncidentStatus("needs_staff", None, None)
    details = await play.details()
    assert "Support staff is needed" in details
    assert "staff_decision" in details
    await play.handle.execute_update(Case.decide, EVE)
    await play.comes("note regenerating regenerating")
    assert await play.handle.query(Case.status) == IncidentStatus("regenerating", "regenerate", "eve")
    details = await play.details()
    assert play.books.regeneration_id in details
    assert "To decide" not in details
    await play.handle.signal(Case.regeneration_finished, RegenerationEnd(play.books.regeneration_id, "done"))
    await play.result()
    assert await play.handle.query(Case.status) == IncidentStatus("closed", "regenerate", "eve")
    assert "Closed as regenerated" in await play.details()
