"""Sending one mail from a workflow, with retries and delays of up to some days; the same for all workflows."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import assert_never

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.activity_calls import ActivityCaller, missing_subject_cause, with_current_time
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import DAY, DELAYED, EventDetail, MailFinalState, SendMailInput, SendMailResult
    from octy_workflows.retry import (
        MAIL_FIRST_ATTEMPT,
        MAIL_RETRY,
        MISSING_SUBJECT_MAIL_RETRY,
        ActivityOptions,
        Condition,
        wait_until,
    )
    from octy_workflows.task_queues import TaskQueueKind, first_attempt_queue, task_queue_beside

MAIL_FAILED = "mail_failed"
"""The event of a mail that was refused for good, and the cause of its staff task."""
_SECOND_ATTEMPT_DELAY = 1.0  # seconds after the first attempt has failed
_GIVEN_UP = SendMailResult(MailFinalState.FAILED, "the sender gave up")


class MailSender(ABC):
    """A workflow, or a part of one, that sends mails to a customer and notifies staff of failures."""

    current_details: CurrentDetails
    caller: ActivityCaller

    @abstractmethod
    async def _record_event(self, event: str, *, key: str = "", detail: EventDetail | None = None) -> None:
        """Add one event to the timeline."""

    @abstractmethod
    async def _notify_staff(self, event: str, message: str, *, key: str = "") -> None:
        """Add one event to the timeline, and open a staff task."""

    async def _on_mail_sent(self, mail: SendMailInput) -> None:  # noqa: B027  # most have nothing to do then
        """Called when a mail was sent: a staff task because of an earlier mail may be over."""

    async def _send_mail(self, mail: SendMailInput, stop: Condition) -> None:
        """Send one mail; while the daily cap prevents it, try again each day.

        Nothing is sent or retried after `stop` has become true.
        """
        while await self._send_mail_once(mail, stop) is MailFinalState.SKIPPED:
            if await wait_until(stop, deadline=mail.at + DAY, summary="daily cap on mails"):
                return
            mail = replace(mail, at=workflow.time())

    async def _send_mail_once(self, mail: SendMailInput, stop: Condition) -> MailFinalState | None:
        """Send one mail and record the result; None when `stop` became true meanwhile."""
        result = await self._final_result(mail, stop)
        if result is None or stop():
            return None
        self.current_details.update(mail=f"Mail {mail.name}: {result.state} {result.reason}".strip())
        state = MailFinalState(result.state)
        match state:
            case MailFinalState.SENT:
                await self._on_mail_sent(mail)
            case MailFinalState.FAILED:
                await self._notify_staff(MAIL_FAILED, "The mail can't be delivered.", key=mail.name)
            case MailFinalState.SKIPPED:
                await self._on_mail_skipped(mail, result.reason)
            case unknown:  # pragma: no cover - mypy shows that there is no other
                assert_never(unknown)
        return state

    async def _final_result(self, mail: SendMailInput, stop: Condition) -> SendMailResult | None:
        """Call the activity until the mail has a final state; a delayed one is asked for again at its time."""
        started_at, reasons = workflow.time(), list[str]()
        while not stop():
            result = await self._result_unless(stop, mail)
            if result is None or result.state != DELAYED:
                return result
            self.current_details.update(mail=f"Mail {mail.name}: {result.state}, {result.reason}")
            if result.reason not in reasons:
                reasons.append(result.reason)
                await self._on_mail_delayed(mail, result.reason)
            deadline = workflow.time() + max(1.0, result.retry_after)
            if await wait_until(stop, deadline=deadline, summary=f"delay of {mail.name}"):
                return None
            mail = replace(mail, at=workflow.time(), delayed_for=workflow.time() - started_at)
        return None

    async def _on_mail_delayed(self, mail: SendMailInput, reason: str) -> None:
        """Record that a mail is delayed, once for each reason."""
        await self._record_event("mail_delayed", key=f"{mail.name}-{reason}", detail={"why": reason})

    async def _on_mail_skipped(self, mail: SendMailInput, reason: str) -> None:
        """Record that a mail is skipped."""
        await self._record_event("mail_skipped", key=f"{mail.name}-{mail.at:.0f}", detail={"why": reason})

    async def _result_unless(self, stop: Condition, mail: SendMailInput) -> SendMailResult | None:
        """Send it; if its subject is missing, retry at long intervals, and notify staff."""
        try:
            return await _attempt_unless(stop, mail)
        except ActivityError as error:
            cause = missing_subject_cause(error)
        again = with_current_time(mail)
        try:
            return await self.caller.retry_while_missing(
                cause, lambda: _execute(stop, again, TaskQueueKind.MAIL_RETRIES, MISSING_SUBJECT_MAIL_RETRY)
            )
        except ActivityError:
            return _GIVEN_UP


async def _attempt_unless(stop: Condition, mail: SendMailInput) -> SendMailResult | None:
    """Make the first attempt on its own task queue, then the others on the one for retries.

    Raises the ActivityError of a mail whose subject is missing.
    """
    attempts = (
        (first_attempt_queue(mail.kind), MAIL_FIRST_ATTEMPT),
        (TaskQueueKind.MAIL_RETRIES, MAIL_RETRY),
    )
    for number, (queue, options) in enumerate(attempts):  # pragma: no branch - the last one is retried without end
        deadline = workflow.time() + _SECOND_ATTEMPT_DELAY
        if number and await wait_until(stop, deadline=deadline, summary="second attempt of a mail"):
            return None
        try:
            return await _execute(stop, mail, queue, options)
        except ActivityError as error:
            if not _is_retryable(error):
                if missing_subject_cause(error):
                    raise
                break
    return _GIVEN_UP


async def _execute(
    stop: Condition, mail: SendMailInput, queue: TaskQueueKind, options: ActivityOptions
) -> SendMailResult | None:
    """Call the activity, and cancel it when `stop` becomes true, because Temporal retries for days. None then."""
    task_queue = task_queue_beside(workflow.info().task_queue, queue)
    sending = workflow.start_activity(activities.send_mail, mail, task_queue=task_queue, summary=mail.kind, **options)
    await workflow.wait_condition(lambda: sending.done() or stop())
    if not sending.done():
        sending.cancel()
    try:
        return await sending
    except ActivityError as error:
        if is_cancelled_exception(error):
            return None
        raise


def _is_retryable(error: ActivityError) -> bool:
    return not (isinstance(error.cause, ApplicationError) and error.cause.non_retryable)
