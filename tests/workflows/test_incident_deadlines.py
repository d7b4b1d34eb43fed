"""Deadlines of an incident to the second, and mails that take hours."""

import asyncio

import pytest
from support.until import until_async

from octy_workflows.messages import DAY, HOUR, IncidentTimes
from octy_workflows.order_content import Choice, StaffDecision
from workflows.workflow_harness import SLACK, Harness, on_harness

MINUTE = 60.0
DOWN_FOR_GOOD = ["down"] * 1000


@pytest.mark.parametrize(
    ("due", "line"),
    [
        pytest.param(DAY, "mail reminder-1", id="first_reminder_after_24_hours"),
        pytest.param(3 * DAY, "mail reminder-2", id="second_reminder_after_72_hours"),
        pytest.param(7 * DAY, "note no_answer needs_staff", id="staff_task_after_7_days"),
        pytest.param(14 * DAY, "close unanswered", id="closed_after_14_days"),
    ],
)
@on_harness
async def test_deadline_is_kept_to_the_second(harness: Harness, due: float, line: str) -> None:
    run = await harness.incident()
    await run.advance_to(due - 1)
    assert [moment for moment in run.when(line) if moment < due] == []
    await run.advance_to(due + 1)
    await run.wait_for_line(line)
    [moment] = run.when(line)
    assert due <= moment < due + SLACK


@on_harness
async def test_alert_is_sent_at_once(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    assert run.when("mail alert-1")[0] < SLACK


@on_harness
async def test_answer_is_handled_while_the_mail_server_is_unavailable(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    await run.advance_to(MINUTE)
    await run.answers(Choice.DISMISS)
    assert await run.result() == "false_alarm"
    await run.check_story("0h note opened waiting", "0h close false_alarm")
    assert run.records.attempts["alert-1"] == 7  # twice at once (then as a retry), after 1, 3, 7, 15 and 31 seconds


@on_harness
async def test_answer_stops_the_retries_of_a_mail(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    await run.advance_to(5)
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    attempts = run.records.attempts.copy()
    await run.advance_to(5 * DAY)
    assert run.records.attempts == attempts


@on_harness
async def test_answer_before_the_second_attempt_of_a_mail_ends_the_wait_for_it(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    run.records.late["load_incident_facts"] = loaded = asyncio.Event()
    await run.wait_for_line("note opened waiting")
    await run.answers(Choice.DISMISS)
    await until_async(lambda: run.records.attempts["alert-1"] > 0, message=run.records)
    loaded.set()
    assert await run.result() == "false_alarm"
    assert run.records.attempts["alert-1"] <= 2  # a second one where a busy machine takes a second until then


@on_harness
async def test_decision_is_handled_while_a_mail_hangs(harness: Harness) -> None:
    hanging = asyncio.Event()
    run = await harness.incident(slow={"send_mail": hanging})
    decision = StaffDecision("dismiss", "dan", "their own test")
    await run.orders(decision)
    assert await run.result() == "false_alarm"
    hanging.set()


@on_harness
async def test_deadlines_are_kept_while_the_mail_server_is_unavailable(harness: Harness) -> None:
    times = IncidentTimes(remind_after=(10,), staff_after=20, close_after=40)
    run = await harness.incident(times, mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    await run.advance_to(41)
    assert await run.result() == "unanswered"
    await run.check_story("0h note opened waiting", "0h note no_answer needs_staff", "0h close unanswered")
    assert 20 <= run.when("note no_answer needs_staff")[0] < 40 <= run.when("close unanswered")[0]


@on_harness
async def test_reminder_due_during_retries_of_the_alert_is_skipped(harness: Harness) -> None:
    times = IncidentTimes(remind_after=(MINUTE, HOUR))
    run = await harness.incident(times, mail_ends={"alert-1": ["down"] * 7})  # sent by the 8th try, after 2 minutes
    await run.advance_to(HOUR + 1)
    await run.check_story("0h note opened waiting", "0h mail alert-1", "1h mail reminder-2")
    assert run.records.attempts == {"alert-1": 8, "reminder-2": 1}


@on_harness
async def test_skipped_alert_is_sent_again_as_the_same_mail_a_day_later(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": ["skipped"]})
    await run.advance_to(DAY + MINUTE)
    await run.wait_for_line("mail alert-1")
    first, second = (step for step in run.records.inputs if getattr(step, "kind", "") == "alert")
    assert (first.subject_id, first.number) == (second.subject_id, second.number)
    assert DAY <= second.at - first.at < DAY + SLACK


@on_harness
async def test_activity_that_fails_for_a_while_delays_no_deadline(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"reminder-1": ["down"] * 4})
    await run.advance_to(3 * DAY + 1)
    await run.wait_for_line("mail reminder-2")
    await until_async(lambda: run.records.attempts["reminder-2"] == 1, message=run.records)
    assert 3 * DAY <= run.when("mail reminder-2")[0] < 3 * DAY + SLACK


@on_harness
async def test_only_mail_activities_have_a_long_timeout(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    attributes = [
        event.activity_task_scheduled_event_attributes
        for event in (await run.handle.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    seconds = {asked.activity_type.name: asked.start_to_close_timeout.seconds for asked in attributes}
    assert seconds == {"record_incident_event": 30, "send_mail": 60}


@on_harness
async def test_alert_is_sent_while_the_opening_is_still_being_recorded(harness: Harness) -> None:
    noting = asyncio.Event()
    run = await harness.incident(slow={"opened": noting})
    await run.wait_for_line("mail alert-1")
    noting.set()
    await run.check_story("0h mail alert-1", "0h note opened waiting")
