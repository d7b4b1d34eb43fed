"""An answer that staff amends in SQL, in races with other messages of the incident."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import OpenRegenerationInput, StatusResult
from octy_workflows.order_content import Choice, StaffDecision
from workflows.workflow_harness import Harness, WorkflowRun, on_harness

CALLED_OFF = {"choice": Choice.DISMISS, "leaked": False, "by": "dan", "order_id": "c-1"}
BACK_AGAIN = {"choice": Choice.REGENERATE, "leaked": False, "by": "eve", "order_id": "c-2"}
LEAKED = {"choice": Choice.REGENERATE, "leaked": True, "by": "eve", "order_id": "c-3"}
EVE = StaffDecision("regenerate", "eve", "called them", order_id="d-1")


async def changes(run: WorkflowRun, change: dict[str, Any]) -> None:
    """Change the answer as the command does: SQL holds it before anybody is told."""
    run.records.changes(**change)
    await run.signal("answer_amended")


async def regenerating(harness: Harness) -> WorkflowRun:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    await run.wait_until_idle()
    return run


def last_lines(run: WorkflowRun) -> list[str]:
    lines = run.records.lines
    return lines[lines.index("note regenerating regenerating") + 1 :]


@pytest.mark.parametrize("ending", ["told_before", "told_after", "not_told"])
@on_harness
async def test_answer_amended_to_false_alarm_closes_the_incident(harness: Harness, ending: str) -> None:
    """Whenever the incident hears of the end of the regeneration, if it hears of it at all: others may wait for it."""
    run = await regenerating(harness)
    async with run.one_activation():
        if ending == "told_before":
            await run.regeneration_ends("superseded")
        await changes(run, CALLED_OFF)
        if ending == "told_after":
            await run.regeneration_ends("superseded")
    assert await run.result() == "false_alarm"
    assert [line for line in last_lines(run) if line != "note superseded"] == ["close false_alarm"]
    assert await run.status() == StatusResult("closed", "dismiss", "dan")


@on_harness
async def test_leak_reported_later_is_shown_and_replaces_no_key_pair_twice(harness: Harness) -> None:
    run = await regenerating(harness)
    await changes(run, LEAKED)
    await run.wait_until_idle()
    assert "regenerate, secret leaked, decided by eve" in await run.details()
    await run.regeneration_ends("done")
    assert await run.result() == "regenerated"
    assert last_lines(run) == ["close regenerated"]
    assert sum(isinstance(step, OpenRegenerationInput) for step in run.records.inputs) == 1


@on_harness
async def test_answer_amended_before_the_regeneration_is_in_sql_starts_none(harness: Harness) -> None:
    opening = asyncio.Event()
    run = await harness.incident(slow={"open_regeneration": opening})
    await run.answers(Choice.REGENERATE)
    await run.wait_until_idle(but="open_regeneration")
    run.records.changes(**CALLED_OFF)
    opening.set()
    assert await run.result() == "false_alarm"
    assert not any("regenerat" in line for line in run.records.story)


@on_harness
async def test_amendment_reverted_at_once_starts_one_regeneration(harness: Harness) -> None:
    opening = asyncio.Event()
    run = await harness.incident(slow={"open_regeneration": opening})
    await run.answers(Choice.REGENERATE)
    await run.wait_until_idle(but="open_regeneration")
    run.records.changes(**CALLED_OFF)
    run.records.changes(**BACK_AGAIN)
    opening.set()
    await run.signal("answer_amended", "answer_amended")
    await run.wait_for_line("note regenerating regenerating")
    await run.regeneration_ends("done")
    assert await run.result() == "regenerated"
    assert [line for line in run.records.story if line.endswith(" regenerate")] == ["0h regenerate"]


@on_harness
async def test_dismissal_amended_during_the_close_keeps_the_incident_open(harness: Harness) -> None:
    closing = asyncio.Event()
    run = await harness.incident(slow={"close_incident": closing})
    await run.answers(Choice.DISMISS)
    await run.wait_until_idle(but="close_incident")
    run.records.changes(**BACK_AGAIN)
    closing.set()
    await run.wait_for_line("note regenerating regenerating")
    await run.signal("answer_amended")
    await run.regeneration_ends("done")
    assert await run.result() == "regenerated"


@on_harness
async def test_decision_amended_before_the_workflow_has_read_it(harness: Harness) -> None:
    recorded = asyncio.Event()
    run = await harness.incident(late={"record_decision": recorded})
    deciding = await run.start_update(KeyIncidentWorkflow.decide, run.records.order(EVE))
    await run.wait_for_line("take regenerate of eve")
    await changes(run, CALLED_OFF)
    await run.wait_for_line("close false_alarm")
    recorded.set()
    assert (await deciding.result()).accepted
    assert await run.result() == "false_alarm"
    assert await run.status() == StatusResult("closed", "dismiss", "dan")
    assert not any(line.endswith(" regenerate") for line in run.records.story)


@on_harness
async def test_amendment_signaled_again_after_an_abandonment_is_ignored(harness: Harness) -> None:
    run = await regenerating(harness)
    await changes(run, LEAKED)
    await run.regeneration_ends("abandoned")
    await run.wait_for_line("note regeneration_abandoned needs_staff")
    await run.signal("answer_amended")
    await run.wait_until_idle()
    assert await run.status() == StatusResult("needs_staff", None, None)
    await run.orders(replace(EVE, order_id="d-2"))
    await run.wait_until_idle()
    assert await run.status() == StatusResult("regenerating", "regenerate", "eve")


@on_harness
async def test_customer_answer_signaled_again_after_an_amendment_changes_nothing(harness: Harness) -> None:
    closing = asyncio.Event()
    run = await regenerating(harness)
    run.records.slow["close_incident"] = closing
    async with run.one_activation():
        await changes(run, CALLED_OFF)
        await run.signal("customer_answered")
    closing.set()
    assert await run.result() == "false_alarm"
