"""Deadlines of a case to the second, and mails that take hours."""

import asyncio

import pytest
from support.until import until_async

from octy_workflows.messages import DAY, HOUR, IncidentTimes
from octy_workflows.staff_requests import Choice, StaffDecision
from workflows.workflow_stage import SLACK, Stage, played

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
@played
async def test_deadline_is_kept_to_the_second(stage: Stage, due: float, line: str) -> None:
    play = await stage.incident()
    await play.until(due - 1)
    assert [moment for moment in play.when(line) if moment < due] == []
    await play.until(due + 1)
    await play.comes(line)
    [moment] = play.when(line)
    assert due <= moment < due + SLACK


@played
async def test_alert_is_sent_at_once(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    assert play.when("mail alert-1")[0] < SLACK


@played
async def test_answer_is_handled_while_the_mail_server_is_unavailable(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    await play.until(MINUTE)
    await play.answers(Choice.DISMISS)
    assert await play.result() == "false_alarm"
    await play.tells("0h note opened waiting", "0h close false_alarm")
    assert play.books.tries["alert-1"] == 7  # twice at once (then as a retry), after 1, 3, 7, 15 and 31 seconds


@played
async def test_answer_stops_the_retries_of_a_mail(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    await play.until(5)
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    tries = play.books.tries.copy()
    await play.until(5 * DAY)
    assert play.books.tries == tries


@played
async def test_decision_is_handled_while_a_mail_hangs(stage: Stage) -> None:
    hanging = asyncio.Event()
    play = await stage.incident(slow={"send_mail": hanging})
    decision = StaffDecision("dismiss", "dan", "their own test")
    await play.orders(decision)
    assert await play.result() == "false_alarm"
    hanging.set()


@played
async def test_deadlines_are_kept_while_the_mail_server_is_unavailable(stage: Stage) -> None:
    times = IncidentTimes(remind_after=(10,), staff_after=20, close_after=40)
    play = await stage.incident(times, mail_ends={"alert-1": DOWN_FOR_GOOD[:]})
    await play.until(41)
    assert await play.result() == "unanswered"
    await play.tells("0h note opened waiting", "0h note no_answer needs_staff", "0h close unanswered")
    assert 20 <= play.when("note no_answer needs_staff")[0] < 40 <= play.when("close unanswered")[0]


@played
async def test_reminder_due_during_retries_of_the_alert_is_skipped(stage: Stage) -> None:
    times = IncidentTimes(remind_after=(MINUTE, HOUR))
    play = await stage.incident(times, mail_ends={"alert-1": ["down"] * 7})  # sent by the 8th try, after 2 minutes
    await play.until(HOUR + 1)
    await play.tells("0h note opened waiting", "0h mail alert-1", "1h mail reminder-2")
    assert play.books.tries == {"alert-1": 8, "reminder-2": 1}


@played
async def test_skipped_alert_is_sent_again_as_the_same_mail_a_day_later(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-1": ["skipped"]})
    await play.until(DAY + MINUTE)
    await play.comes("mail alert-1")
    first, second = (order for order in play.books.orders if getattr(order, "kind", "") == "alert")
    assert (first.subject_id, first.number) == (second.subject_id, second.number)
    assert DAY <= second.at - first.at < DAY + SLACK


@played
async def test_activity_that_fails_for_a_while_delays_no_deadline(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"reminder-1": ["down"] * 4})
    await play.until(3 * DAY + 1)
    await play.comes("mail reminder-2")
    await until_async(lambda: play.books.tries["reminder-2"] == 1, message=play.books)
    assert 3 * DAY <= play.when("mail reminder-2")[0] < 3 * DAY + SLACK


@played
async def test_only_mail_activities_have_a_long_timeout(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    attributes = [
        event.activity_task_scheduled_event_attributes
        for event in (await play.handle.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    seconds = {asked.activity_type.name: asked.start_to_close_timeout.seconds for asked in attributes}
    assert seconds == {"record_incident_event": 30, "send_mail": 60}


@played
async def test_alert_is_sent_while_the_opening_is_still_being_recorded(stage: Stage) -> None:
    noting = asyncio.Event()
    play = await stage.incident(slow={"opened": noting})
    await play.comes("mail alert-1")
    noting.set()
    await play.tells("0h mail alert-1", "0h note opened waiting")
