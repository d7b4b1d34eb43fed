"""Mails to the customer, which may take days; the same for all workflows.

Here: one mail, from its order to the word of what became of it. Not here: when a mail is due, and what it says.
"""

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
    from octy_workflows.task_queues import TaskQueueKind, first_attempt_queue, main_task_queue_of, task_queue_name

_SECOND_TRY = 1.0  # seconds after the first one has failed
_GIVEN_UP = SendMailResult(MailFinalState.FAILED, "the sender gave up")


class MailSender(ABC):
    """A workflow that writes to a customer, and tells support staff when that fails."""

    board: CurrentDetails
    asking: ActivityCaller

    @abstractmethod
    async def _note(self, what: str, *, key: str = "", detail: EventDetail | None = None) -> None:
        """Write one event into the timeline."""

    @abstractmethod
    async def _call_staff(self, what: str, remark: str, *, key: str = "") -> None:
        """Write one event into the timeline, and raise a staff task."""

    async def _mail_left(self, order: SendMailInput) -> None:  # noqa: B027  # most have nothing to do then
        """Hear that a mail was sent: what staff was called for because of an earlier one may be over."""

    async def _mail(self, order: SendMailInput, stop: Condition) -> None:
        """Have one mail sent, ordered anew each day as long as the daily cap withholds it.

        Nothing more is ordered, or tried, once `stop` is true.
        """
        while await self._mail_once(order, stop) is MailFinalState.SKIPPED:
            if await wait_until(stop, by=order.at + DAY, waiting_for="the daily cap on mails"):
                return
            order = replace(order, at=workflow.time())

    async def _mail_once(self, order: SendMailInput, stop: Condition) -> MailFinalState | None:
        """Order one mail and note what became of it; None when `stop` came true while it was being tried."""
        name = f"{order.kind}-{order.number}"
        report = await self._report_of(order, name, stop)
        if report is None or stop():
            return None
        self.board.show(mail=f"Mail {name}: {report.state} {report.why}".strip())
        end = MailFinalState(report.state)
        match end:
            case MailFinalState.SENT:
                await self._mail_left(order)
            case MailFinalState.FAILED:
                await self._call_staff("mail_failed", "The mail can't be delivered.", key=name)
            case MailFinalState.SKIPPED:
                await self._mail_skipped(order, report.why)
            case unknown:
                assert_never(unknown)
        return end

    async def _report_of(self, order: SendMailInput, name: str, stop: Condition) -> SendMailResult | None:
        """Order one mail until something became of it; one that is delayed is ordered again when it is its turn."""
        began, causes = workflow.time(), list[str]()
        while not stop():
            report = await self._sent_unless(stop, order)
            if report is None or report.state != DELAYED:
                return report
            self.board.show(mail=f"Mail {name}: {report.state}, {report.why}")
            if report.why not in causes:
                causes.append(report.why)
                await self._mail_delayed(order, report.why)
            by = workflow.time() + max(1.0, report.again_in)
            if await wait_until(stop, by=by, waiting_for=f"the turn of {name}"):
                return None
            order = replace(order, at=workflow.time(), waited=workflow.time() - began)
        return None

    async def _mail_delayed(self, order: SendMailInput, why: str) -> None:
        """Note that a mail has not left yet; told once for each reason."""
        await self._note("mail_delayed", key=f"{order.kind}-{order.number}-{why}", detail={"why": why})

    async def _mail_skipped(self, order: SendMailInput, why: str) -> None:
        """Note that a mail is withheld, or was overtaken."""
        name = f"{order.kind}-{order.number}"
        await self._note("mail_skipped", key=f"{name}-{order.at:.0f}", detail={"why": why})

    async def _sent_unless(self, stop: Condition, order: SendMailInput) -> SendMailResult | None:
        """Have it sent; one about what is not in the database is tried at long intervals, and staff is told."""
        try:
            return await _tried_unless(stop, order)
        except ActivityError as error:
            cause = missing_subject_cause(error)
        again = with_current_time(order)
        try:
            return await self.asking.missing(
                cause, lambda: _tried(stop, again, TaskQueueKind.MAIL_RETRIES, MISSING_SUBJECT_MAIL_RETRY)
            )
        except ActivityError:
            return _GIVEN_UP


async def _tried_unless(stop: Condition, order: SendMailInput) -> SendMailResult | None:
    """Have it tried once where first tries have slots of their own, then again and again where retries have theirs.

    Raises the ActivityError of a mail whose subject is missing.
    """
    tries = ((first_attempt_queue(order.kind), MAIL_FIRST_ATTEMPT), (TaskQueueKind.MAIL_RETRIES, MAIL_RETRY))
    for number, (work, patience) in enumerate(tries):
        if number and await wait_until(stop, by=workflow.time() + _SECOND_TRY, waiting_for="the second try of a mail"):
            return None
        try:
            return await _tried(stop, order, work, patience)
        except ActivityError as error:
            if not _may_be_tried_again(error):
                if missing_subject_cause(error):
                    raise
                break
    return _GIVEN_UP


async def _tried(
    stop: Condition, order: SendMailInput, work: TaskQueueKind, patience: ActivityOptions
) -> SendMailResult | None:
    """Have it tried, but no longer than until `stop`: Temporal retries a mail for days. None when that came first."""
    queue = task_queue_name(main_task_queue_of(workflow.info().task_queue), work)
    sending = workflow.start_activity(activities.send_mail, order, task_queue=queue, summary=order.kind, **patience)
    await workflow.wait_condition(lambda: sending.done() or stop())
    if not sending.done():
        sending.cancel()
    try:
        return await sending
    except ActivityError as error:
        if is_cancelled_exception(error):
            return None
        raise


def _may_be_tried_again(error: ActivityError) -> bool:
    return not (isinstance(error.cause, ApplicationError) and error.cause.non_retryable)
