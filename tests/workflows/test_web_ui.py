"""What support staff finds in Temporal's Web UI: lists by state, and words on activities and timers."""

from typing import Any

import pytest
from temporalio.client import WorkflowHistory

from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import DAY, IncidentInput, IncidentTimes
from octy_workflows.search_attributes import FAILURES, NEEDS_STAFF, STATE
from octy_workflows.staff_requests import Choice, StaffResend
from workflows.workflow_books import Books
from workflows.workflow_stage import TASK_QUEUE, Play, Stage, played


async def found(play: Play) -> tuple[Any, ...]:
    """Return state, need of staff, and failures, as lists show them."""
    attributes = (await play.handle.describe()).typed_search_attributes
    return tuple(attributes.get(key) for key in (STATE, NEEDS_STAFF, FAILURES))


@played
async def test_incident_search_attributes_show_state_needs_staff_and_failures(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-1": ["failed"]})
    await play.comes("note mail_failed needs_staff")
    await play.rest()
    assert await found(play) == ("needs_staff", True, 20)
    await play.orders(StaffResend("eve", "address corrected"))
    play.books.failures = 40
    await play.told("failures_increased")
    await play.rest()
    assert await found(play) == ("waiting", False, 40)
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    assert await found(play) == ("regenerating", False, 40)
    await play.regeneration_ends("done")
    await play.result()
    assert await found(play) == ("closed", False, 40)


@played
async def test_regeneration_search_attributes_show_its_state(stage: Stage) -> None:
    play = await stage.regeneration()
    await play.comes("mail new_keys-1")
    assert await found(play) == ("sent", False, None)
    await play.until(8 * DAY)
    assert await found(play) == ("sent", True, None)
    play.books.collected_at = await play.now()
    await play.told("keys_collected")
    await play.comes("note staff_not_needed staff_done")
    await play.rest()
    assert await found(play) == ("collected", False, None)
    await play.until(10 * DAY)
    await play.result()
    assert await found(play) == ("done", False, None)


@played
async def test_search_attributes_switched_off_are_not_set_and_the_history_replays(stage: Stage) -> None:
    books = Books()
    stage.recorder.books["quiet"] = books
    case = IncidentInput("quiet", IncidentTimes())
    with stage.env.with_time_skipping_disabled():
        handle = await stage.env.client.start_workflow(Case.run, case, id="quiet", task_queue=TASK_QUEUE)
    play = Play(stage.env, handle, books, stage.hands)
    stage.plays.append(play)
    await play.comes("note opened waiting")
    play.books.failures = 40
    await play.told("failures_increased")
    await play.rest()
    assert await found(play) == (None, None, None)


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
@played
async def test_every_activity_and_every_timer_has_a_summary(stage: Stage, kind: str) -> None:
    if kind == "incident":
        play = await stage.incident()
        await play.until(15 * DAY)
        expected = {"opened", "alert", "reminder", "no_answer", "as unanswered"}
        timers = {"next reminder", "staff task", "end of the incident"}
    else:
        play = await stage.regeneration()
        await play.until(15 * DAY)
        expected = {"new pair", "new_keys", "link 2", "link 3", "not_collected", "as abandoned"}
        timers = {"collection of the keys"}
    await play.result()
    told = summaries(await play.handle.fetch_history())
    assert set(told["activity"]) == expected
    assert timers <= set(told["timer"])
    assert "" not in told["timer"]
