"""Resent mails of an incident: numbers, the daily cap, refusals, and the return from needing staff."""

import asyncio
from dataclasses import replace

import pytest

from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import DAY, HOUR, ResendResult, StatusResult
from octy_workflows.order_content import Choice, StaffExtension, StaffResend
from workflows.workflow_harness import Harness, WorkflowRun, on_harness, refused

AGAIN = StaffResend("eve", "address corrected", order_id="s-1")
FAILED = "note mail_failed needs_staff"
RELIEVED = "note staff_not_needed waiting"


async def told(run: WorkflowRun, line: str) -> None:
    """Wait for a line, and until the workflow has heard of it."""
    await run.wait_for_line(line)
    await run.wait_until_idle()


async def resend(run: WorkflowRun, said: StaffResend = AGAIN) -> ResendResult:
    resent: ResendResult = await run.orders(said)
    return resent


@on_harness
async def test_resend_without_a_kind_sends_the_last_mail_with_a_new_number(harness: Harness) -> None:
    run = await harness.incident()
    await told(run, "mail alert-1")
    assert await resend(run) == ResendResult("alert-2", "sent")
    await run.advance_to(DAY + HOUR)
    # Reminder 2 is still to come, so its number stays free.
    assert await resend(run, replace(AGAIN, order_id="s-2")) == ResendResult("reminder-3", "sent")
    assert await resend(run, replace(AGAIN, kind="alert", order_id="s-3")) == ResendResult("alert-3", "sent")
    await run.advance_to(3 * DAY + HOUR)
    mails = [line for line in run.records.lines if line.startswith("mail ")]
    assert mails == [
        f"mail {name}" for name in ("alert-1", "alert-2", "reminder-1", "reminder-3", "alert-3", "reminder-2")
    ]


@on_harness
async def test_resend_is_recorded_with_actor_kind_and_reason_and_its_repeat_sends_nothing(harness: Harness) -> None:
    run = await harness.incident()
    await told(run, "mail alert-1")
    assert await resend(run) == await resend(run)
    await run.orders_by_signal(AGAIN)
    await run.wait_until_idle()
    [note] = run.records.events("mail_ordered_again")
    assert (note.actor, note.key, note.state) == ("eve", "mail_ordered_again-s-1", None)
    assert note.detail == {"mail": "alert-2", "reason": AGAIN.reason}
    assert len(run.when("mail alert-2")) == 1


@pytest.mark.parametrize("way", ["update", "signal"])
@on_harness
async def test_resend_after_a_failed_mail_returns_the_incident_to_waiting(harness: Harness, way: str) -> None:
    run = await harness.incident(mail_ends={"alert-1": ["failed"]})
    await told(run, FAILED)
    assert (await run.status()).state == "needs_staff"
    if way == "update":
        assert await resend(run) == ResendResult("alert-2", "sent")
    else:
        await run.orders_by_signal(AGAIN)
    await run.wait_for_line(RELIEVED)
    assert await run.status() == StatusResult("waiting", None, None)
    assert "The mail can't be delivered" not in await run.details()


@on_harness
async def test_resend_that_fails_again_keeps_the_incident_with_staff(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": ["failed"], "alert-2": ["failed"]})
    await told(run, FAILED)
    assert await resend(run) == ResendResult("alert-2", "failed")
    await run.wait_until_idle()
    assert (await run.status()).state == "needs_staff"
    assert len(run.when(FAILED)) == 2
    assert await resend(run, replace(AGAIN, order_id="s-2")) == ResendResult("alert-3", "sent")
    await run.wait_for_line(RELIEVED)


@on_harness
async def test_resolved_staff_cause_does_not_hide_another(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-1": ["failed"], "reminder-1": ["failed"], "reminder-2": ["failed"]})
    await run.advance_to(8 * DAY)
    assert len(run.when("note no_answer needs_staff")) == 1
    await resend(run)
    await run.wait_until_idle()
    assert (await run.status()).state == "needs_staff"  # there is no answer all the same
    assert run.when(RELIEVED) == []
    await run.orders(StaffExtension(7, "eve", "they are ill"))
    assert await run.status() == StatusResult("waiting", None, None)


@on_harness
async def test_resend_over_the_daily_cap_is_not_sent_and_its_number_is_used_next_time(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-2": ["skipped"]})
    await told(run, "mail alert-1")
    assert await resend(run) == ResendResult("alert-2", "skipped")
    await run.advance_to(2 * DAY)
    assert run.when("mail alert-2") == []
    again = replace(AGAIN, kind="alert", order_id="s-2")
    assert await resend(run, again) == ResendResult("alert-2", "sent")


@on_harness
async def test_resend_is_refused_before_the_first_mail_was_sent(harness: Harness) -> None:
    sending = asyncio.Event()
    run = await harness.incident(slow={"send_mail": sending})
    await run.wait_until_idle(but="send_mail")
    error = await refused(resend(run))
    assert (error.type, "mail alert-1 is still being retried" in error.message) == ("TooEarly", True)
    sending.set()
    await told(run, "mail alert-1")
    error = await refused(resend(run, replace(AGAIN, kind="reminder", order_id="s-2")))
    assert (error.type, error.message) == ("TooEarly", "there is nothing to send again: no reminder was sent yet")
    error = await refused(resend(run, replace(AGAIN, kind="new_keys", order_id="s-3")))
    assert "kind must be one of: alert, reminder" in error.message


@on_harness
async def test_restarted_incident_uses_no_mail_number_twice(harness: Harness) -> None:
    run = await harness.incident(earlier={"mail_numbers": {"alert": 4, "reminder": 1}})
    await told(run, "mail alert-1")
    assert await resend(run) == ResendResult("alert-5", "sent")
    await run.advance_to(DAY + HOUR)
    assert await resend(run, replace(AGAIN, order_id="s-2")) == ResendResult("reminder-3", "sent")


@on_harness
async def test_resend_of_an_answered_incident_is_refused_and_a_late_signal_is_audited(harness: Harness) -> None:
    run = await harness.incident()
    await told(run, "mail alert-1")
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    assert (await refused(resend(run))).type == "TooLate"
    await run.orders_by_signal(AGAIN)
    await run.wait_for_line("note resend_refused")
    [note] = run.records.events("resend_refused")
    assert (note.actor, note.key, note.detail["reason"]) == ("eve", "refused-s-1", AGAIN.reason)


@on_harness
async def test_answer_during_a_resend_stops_its_retries(harness: Harness) -> None:
    run = await harness.incident(mail_ends={"alert-2": ["down"] * 1000})
    await told(run, "mail alert-1")
    asking = await run.start_update(KeyIncidentWorkflow.resend, run.records.order(AGAIN))
    await run.wait_for_line("note mail_ordered_again")
    await run.answers(Choice.DISMISS)
    error = await refused(asking.result())
    assert "answered before the mail was sent" in error.message
    assert await run.result() == "false_alarm"


@on_harness
async def test_alert_can_be_resent_after_an_abandonment(harness: Harness) -> None:
    run = await harness.incident()
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    await run.regeneration_ends("abandoned")
    await run.wait_for_line("note regeneration_abandoned needs_staff")
    assert (await resend(run)).state == "sent"
    await run.wait_until_idle()
    assert (await run.status()).state == "needs_staff"  # a decision is still wanted
    await run.answers(Choice.REGENERATE)
    await run.wait_until_idle()
    assert await run.status() == StatusResult("regenerating", "regenerate", "customer")
