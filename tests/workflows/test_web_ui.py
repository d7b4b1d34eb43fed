"""Temporal's Web UI for staff: search attributes, and summaries of activities and timers."""

from typing import Any

import pytest
from temporalio.client import WorkflowHistory

from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import DAY, IncidentInput
from octy_workflows.order_content import Choice, StaffResend
from octy_workflows.search_attributes import FAILURES, NEEDS_STAFF, STATE
from workflows.workflow_harness import Harness, WorkflowRun, on_harness


async def found(run: WorkflowRun) -> tuple[Any, ...]:
    """Return state, need of staff, and failures, as lists show them."""
    attributes = (await run.handle.describe()).typed_search_attributes
    return tuple(attributes.get(key) for key in (STATE, NEEDS_STAFF, FAILURES))


@on_harness
async def test_incident_search_attributes_show_state_needs_staff_and_failures(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": ["failed"]})
    await run.wait_for_line("note mail_failed needs_staff")
    await run.wait_until_idle()
    assert await found(run) == ("needs_staff", True, 20)
    await run.orders(StaffResend("eve", "address corrected"))
    run.records.failures = 40
    await run.signal("failures_increased")
    await run.wait_until_idle()
    assert await found(run) == ("waiting", False, 40)
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    assert await found(run) == ("regenerating", False, 40)
    await run.regeneration_ends("done")
    await run.result()
    assert await found(run) == ("closed", False, 40)


@on_harness
async def test_regeneration_search_attributes_show_its_state(harness: Harness) -> None:
    run = await harness.regeneration()
    await run.wait_for_line("mail new_keys-1")
    assert await found(run) == ("sent", False, None)
    await run.advance_to(8 * DAY)
    assert await found(run) == ("sent", True, None)
    run.records.collected_at = await run.now()
    await run.signal("keys_collected")
    await run.wait_for_line("note staff_not_needed staff_done")
    await run.wait_until_idle()
    assert await found(run) == ("collected", False, None)
    await run.advance_to(10 * DAY)
    await run.result()
    assert await found(run) == ("done", False, None)


@on_harness
async def test_search_attributes_switched_off_are_not_set_and_the_history_replays(harness: Harness) -> None:
    run = await harness.start(KeyIncidentWorkflow.run, IncidentInput("quiet"), "quiet")
    await run.wait_for_line("note opened waiting")
    run.records.failures = 40
    await run.signal("failures_increased")
    await run.wait_until_idle()
    assert await found(run) == (None, None, None)


def summaries(history: WorkflowHistory) -> dict[str, list[str]]:
    """Return the words that the Web UI shows beside activities and timers."""
    told: dict[str, list[str]] = {"activity": [], "timer": []}
    for event in history.events:
        words = event.user_metadata.summary.data.decode().strip('"')
        if event.HasField("activity_task_scheduled_event_attributes"):
            told["activity"].append(words)
        if event.HasField("timer_started_event_attributes"):
            told["timer"].append(words)
    return told


@pytest.mark.parametrize("kind", ["incident", "regeneration"])
@on_harness
async def test_every_activity_and_every_timer_has_a_summary(harness: Harness, kind: str) -> None:
    if kind == "incident":
        run = await harness.incident()
        await run.advance_to(15 * DAY)
        expected = {"opened", "alert", "reminder", "no_answer", "as unanswered"}
        timers = {"next reminder", "staff task", "end of the incident"}
    else:
        run = await harness.regeneration()
        await run.advance_to(15 * DAY)
        expected = {"new pair", "new_keys", "link 2", "link 3", "not_collected", "as abandoned"}
        timers = {"collection of the keys"}
    await run.result()
    told = summaries(await run.handle.fetch_history())
    assert set(told["activity"]) == expected
    assert timers <= set(told["timer"])
    assert "" not in told["timer"]
