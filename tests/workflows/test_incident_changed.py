"""An answer that staff has changed in SQL: what the case makes of it, however closely it meets other messages."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateStage

from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import OpenRegenerationInput, StatusResult
from octy_workflows.staff_requests import Choice, StaffDecision
from workflows.workflow_stage import Play, Stage, played

CALLED_OFF = {"choice": Choice.DISMISS, "leaked": False, "by": "dan", "change_id": "c-1"}
BACK_AGAIN = {"choice": Choice.REGENERATE, "leaked": False, "by": "eve", "change_id": "c-2"}
LEAKED = {"choice": Choice.REGENERATE, "leaked": True, "by": "eve", "change_id": "c-3"}
EVE = StaffDecision("regenerate", "eve", "called them", decision_id="d-1")


async def changes(play: Play, change: dict[str, Any]) -> None:
    """Change the answer as the command does: SQL holds it before anybody is told."""
    play.books.changes(**change)
    await play.told("answer_amended")


async def regenerating(stage: Stage) -> Play:
    play = await stage.incident()
    await play.comes("mail alert-1")
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    await play.rest()
    return play


def last_lines(play: Play) -> list[str]:
    lines = [line.partition(" ")[2] for line in play.books.story]
    return lines[lines.index("note regenerating regenerating") + 1 :]


@pytest.mark.parametrize("ending", ["told_before", "told_after", "not_told"])
@played
async def test_answer_amended_to_false_alarm_closes_the_incident(stage: Stage, ending: str) -> None:
    """Whenever the case hears of the end of the regeneration, if it hears of it at all: others may wait for it."""
    play = await regenerating(stage)
    async with play.one_activation():
        if ending == "told_before":
            await play.regeneration_ends("superseded")
        await changes(play, CALLED_OFF)
        if ending == "told_after":
            await play.regeneration_ends("superseded")
    assert await play.result() == "false_alarm"
    assert [line for line in last_lines(play) if line != "note superseded"] == ["close false_alarm"]
    assert await play.handle.query(Case.status) == StatusResult("closed", "dismiss", "dan")


@played
async def test_leak_reported_later_is_shown_and_replaces_no_key_pair_twice(stage: Stage) -> None:
    play = await regenerating(stage)
    await changes(play, LEAKED)
    await play.rest()
    assert "regenerate, secret leaked, decided by eve" in await play.details()
    await play.regeneration_ends("done")
    assert await play.result() == "regenerated"
    assert last_lines(play) == ["close regenerated"]
    assert sum(isinstance(order, OpenRegenerationInput) for order in play.books.orders) == 1


@played
async def test_answer_amended_before_the_regeneration_is_in_sql_starts_none(stage: Stage) -> None:
    opening = asyncio.Event()
    play = await stage.incident(slow={"open_regeneration": opening})
    await play.answers(Choice.REGENERATE)
    await play.rest(but="open_regeneration")
    play.books.changes(**CALLED_OFF)
    opening.set()
    assert await play.result() == "false_alarm"
    assert not any("regenerat" in line for line in play.books.story)


@played
async def test_amendment_reverted_at_once_starts_one_regeneration(stage: Stage) -> None:
    opening = asyncio.Event()
    play = await stage.incident(slow={"open_regeneration": opening})
    await play.answers(Choice.REGENERATE)
    await play.rest(but="open_regeneration")
    play.books.changes(**CALLED_OFF)
    play.books.changes(**BACK_AGAIN)
    opening.set()
    await play.told("answer_amended", "answer_amended")
    await play.comes("note regenerating regenerating")
    await play.regeneration_ends("done")
    assert await play.result() == "regenerated"
    assert [line for line in play.books.story if line.endswith(" regenerate")] == ["0h regenerate"]


@played
async def test_dismissal_amended_during_the_close_keeps_the_incident_open(stage: Stage) -> None:
    closing = asyncio.Event()
    play = await stage.incident(slow={"close_incident": closing})
    await play.answers(Choice.DISMISS)
    await play.rest(but="close_incident")
    play.books.changes(**BACK_AGAIN)
    closing.set()
    await play.comes("note regenerating regenerating")
    await play.told("answer_amended")
    await play.regeneration_ends("done")
    assert await play.result() == "regenerated"


@played
async def test_decision_amended_before_the_workflow_has_read_it(stage: Stage) -> None:
    telling = asyncio.Event()
    play = await stage.incident(late={"record_decision": telling})
    deciding = await play.handle.start_update(
        Case.decide, play.books.order(EVE), wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    await play.comes("take regenerate of eve")
    await changes(play, CALLED_OFF)
    await play.comes("close false_alarm")
    telling.set()
    assert (await deciding.result()).accepted
    assert await play.result() == "false_alarm"
    assert await play.handle.query(Case.status) == StatusResult("closed", "dismiss", "dan")
    assert not any(line.endswith(" regenerate") for line in play.books.story)


@played
async def test_amendment_signaled_again_after_an_abandonment_is_ignored(stage: Stage) -> None:
    play = await regenerating(stage)
    await changes(play, LEAKED)
    await play.regeneration_ends("abandoned")
    await play.comes("note regeneration_abandoned needs_staff")
    await play.told("answer_amended")
    await play.rest()
    assert await play.handle.query(Case.status) == StatusResult("needs_staff", None, None)
    await play.orders(replace(EVE, decision_id="d-2"))
    await play.rest()
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "eve")


@played
async def test_customer_answer_signaled_again_after_an_amendment_changes_nothing(stage: Stage) -> None:
    closing = asyncio.Event()
    play = await regenerating(stage)
    play.books.slow["close_incident"] = closing
    async with play.one_activation():
        await changes(play, CALLED_OFF)
        await play.told("customer_answered")
    closing.set()
    assert await play.result() == "false_alarm"
