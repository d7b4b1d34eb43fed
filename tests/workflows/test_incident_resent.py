"""A mail of a case sent again: its number, the daily cap, refusals, and the way back from needing staff."""

import asyncio
from dataclasses import replace

import pytest
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.exceptions import ApplicationError

from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import DAY, HOUR, RecordIncidentEventInput, ResendResult, StatusResult
from octy_workflows.staff_requests import Choice, StaffExtension, StaffResend
from workflows.workflow_stage import Play, Stage, played

AGAIN = StaffResend("eve", "address corrected", request_id="s-1")
FAILED = "note mail_failed needs_staff"
RELIEVED = "note staff_not_needed waiting"


async def told(play: Play, line: str) -> None:
    """Wait for a line, and until the workflow has heard of it."""
    await play.comes(line)
    await play.rest()


async def resend(play: Play, said: StaffResend = AGAIN) -> ResendResult:
    resent: ResendResult = await play.orders(said)
    return resent


async def refused(play: Play, said: StaffResend = AGAIN) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await resend(play, said)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


@played
async def test_resend_without_a_kind_sends_the_last_mail_with_a_new_number(stage: Stage) -> None:
    play = await stage.incident()
    await told(play, "mail alert-1")
    assert await resend(play) == ResendResult("alert-2", "sent")
    await play.until(DAY + HOUR)
    # Reminder 2 is still to come, so its number stays free.
    assert await resend(play, replace(AGAIN, request_id="s-2")) == ResendResult("reminder-3", "sent")
    assert await resend(play, replace(AGAIN, kind="alert", request_id="s-3")) == ResendResult("alert-3", "sent")
    await play.until(3 * DAY + HOUR)
    mails = [line.partition(" ")[2] for line in play.books.story if " mail " in line]
    assert mails == [
        f"mail {name}" for name in ("alert-1", "alert-2", "reminder-1", "reminder-3", "alert-3", "reminder-2")
    ]


@played
async def test_resend_is_recorded_with_actor_kind_and_reason_and_its_repeat_sends_nothing(stage: Stage) -> None:
    play = await stage.incident()
    await told(play, "mail alert-1")
    assert await resend(play) == await resend(play)
    await play.orders_by_signal(AGAIN)
    await play.rest()
    [note] = [
        o for o in play.books.orders if isinstance(o, RecordIncidentEventInput) and o.event == "mail_ordered_again"
    ]
    assert (note.actor, note.key, note.state) == ("eve", "mail_ordered_again-s-1", None)
    assert note.detail == {"mail": "alert-2", "reason": AGAIN.reason}
    assert len(play.when("mail alert-2")) == 1


@pytest.mark.parametrize("way", ["update", "signal"])
@played
async def test_resend_after_a_failed_mail_returns_the_incident_to_waiting(stage: Stage, way: str) -> None:
    play = await stage.incident(mail_ends={"alert-1": ["failed"]})
    await told(play, FAILED)
    assert (await play.handle.query(Case.status)).state == "needs_staff"
    if way == "update":
        assert await resend(play) == ResendResult("alert-2", "sent")
    else:
        await play.orders_by_signal(AGAIN)
    await play.comes(RELIEVED)
    assert await play.handle.query(Case.status) == StatusResult("waiting", None, None)
    assert "The mail can't be delivered" not in await play.details()


@played
async def test_resend_that_fails_again_keeps_the_incident_with_staff(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-1": ["failed"], "alert-2": ["failed"]})
    await told(play, FAILED)
    assert await resend(play) == ResendResult("alert-2", "failed")
    await play.rest()
    assert (await play.handle.query(Case.status)).state == "needs_staff"
    assert len(play.when(FAILED)) == 2
    assert await resend(play, replace(AGAIN, request_id="s-2")) == ResendResult("alert-3", "sent")
    await play.comes(RELIEVED)


@played
async def test_resolved_staff_cause_does_not_hide_another(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-1": ["failed"], "reminder-1": ["failed"], "reminder-2": ["failed"]})
    await play.until(8 * DAY)
    assert len(play.when("note no_answer needs_staff")) == 1
    await resend(play)
    await play.rest()
    assert (await play.handle.query(Case.status)).state == "needs_staff"  # nobody has answered all the same
    assert play.when(RELIEVED) == []
    await play.orders(StaffExtension(7, "eve", "they are ill"))
    assert await play.handle.query(Case.status) == StatusResult("waiting", None, None)


@played
async def test_resend_over_the_daily_cap_is_not_sent_and_its_number_is_used_next_time(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-2": ["skipped"]})
    await told(play, "mail alert-1")
    assert await resend(play) == ResendResult("alert-2", "skipped")
    await play.until(2 * DAY)
    assert play.when("mail alert-2") == []
    again = replace(AGAIN, kind="alert", request_id="s-2")
    assert await resend(play, again) == ResendResult("alert-2", "sent")


@played
async def test_resend_is_refused_before_the_first_mail_was_sent(
    stage: Stage,
) -> None:
    sending = asyncio.Event()
    play = await stage.incident(slow={"send_mail": sending})
    await play.rest(but="send_mail")
    error = await refused(play)
    assert (error.type, "mail alert-1 is still being retried" in error.message) == ("TooEarly", True)
    sending.set()
    await told(play, "mail alert-1")
    error = await refused(play, replace(AGAIN, kind="reminder", request_id="s-2"))
    assert (error.type, error.message) == ("TooEarly", "there is nothing to send again: no reminder was sent yet")
    assert (
        "kind must be one of: alert, reminder"
        in (await refused(play, replace(AGAIN, kind="new_keys", request_id="s-3"))).message
    )


@played
async def test_restarted_incident_uses_no_mail_number_twice(stage: Stage) -> None:
    play = await stage.incident(earlier={"mail_numbers": {"alert": 4, "reminder": 1}})
    await told(play, "mail alert-1")
    assert await resend(play) == ResendResult("alert-5", "sent")
    await play.until(DAY + HOUR)
    assert await resend(play, replace(AGAIN, request_id="s-2")) == ResendResult("reminder-3", "sent")


@played
async def test_resend_of_an_answered_incident_is_refused_and_a_late_signal_is_audited(stage: Stage) -> None:
    play = await stage.incident()
    await told(play, "mail alert-1")
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    assert (await refused(play)).type == "TooLate"
    await play.orders_by_signal(AGAIN)
    await play.comes("note resend_refused")
    [note] = [o for o in play.books.orders if isinstance(o, RecordIncidentEventInput) and o.event == "resend_refused"]
    assert (note.actor, note.key, note.detail["reason"]) == ("eve", "refused-s-1", AGAIN.reason)


@played
async def test_answer_during_a_resend_stops_its_retries(stage: Stage) -> None:
    play = await stage.incident(mail_ends={"alert-2": ["down"] * 1000})
    await told(play, "mail alert-1")
    asking = await play.handle.start_update(
        Case.resend, play.books.order(AGAIN), wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    await play.comes("note mail_ordered_again")
    await play.answers(Choice.DISMISS)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await asking.result()
    assert "answered before the mail was sent" in str(caught.value.cause)
    assert await play.result() == "false_alarm"


@played
async def test_alert_can_be_resent_after_an_abandonment(stage: Stage) -> None:
    play = await stage.incident()
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    await play.regeneration_ends("abandoned")
    await play.comes("note regeneration_abandoned needs_staff")
    assert (await resend(play)).state == "sent"
    await play.rest()
    assert (await play.handle.query(Case.status)).state == "needs_staff"  # a decision is still wanted
    await play.answers(Choice.REGENERATE)
    await play.rest()
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "customer")
