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
    from octy_workflows.activity_calls import Asking, asked_now, missing_in
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import DAY, DELAYED, Detail, MailEnd, MailOrder, MailReport
    from octy_workflows.retry import FIRST_MAILING, MAILING, SELDOM_MAILING, Condition, Patience, came_true
    from octy_workflows.task_queues import Work, first_try, main_queue_of, task_queue_of

_SECOND_TRY = 1.0  # seconds after the first one has failed
_GIVEN_UP = MailReport(MailEnd.FAILED, "the sender gave up")


class Correspondent(ABC):
    """A workflow that writes to a customer, and tells support staff when that fails."""

    board: CurrentDetails
    asking: Asking

    @abstractmethod
    async def _note(self, what: str, *, key: str = "", detail: Detail | None = None) -> None:
        """Write one event into the timeline."""

    @abstractmethod
    async def _call_staff(self, what: str, remark: str, *, key: str = "") -> None:
        """Write one event into the timeline, and raise a staff task."""

    async def _mail_left(self, order: MailOrder) -> None:  # noqa: B027  # most have nothing to do then
        """Hear that a mail was sent: what staff was called for because of an earlier one may be over."""

    async def _mail(self, order: MailOrder, stop: Condition) -> None:
        """Have one mail sent, ordered anew each day as long as the daily cap withholds it.

        Nothing more is ordered, or tried, once `stop` is true.
        """
        while await self._mail_once(order, stop) is MailEnd.SKIPPED:
            if await came_true(stop, by=order.at + DAY, waiting_for="the daily cap on mails"):
                return
            order = replace(order, at=workflow.time())

    async def _mail_once(self, order: MailOrder, stop: Condition) -> MailEnd | None:
        """Order one mail and note what became of it; None when `stop` came true while it was being tried."""
        name = f"{order.kind}-{order.number}"
        report = await self._report_of(order, name, stop)
        if report is None or stop():
            return None
        self.board.show(mail=f"Mail {name}: {report.state} {report.why}".strip())
        end = MailEnd(report.state)
        match end:
            case MailEnd.SENT:
                await self._mail_left(order)
            case MailEnd.FAILED:
                await self._call_staff("mail_failed", "The mail can't be delivered.", key=name)
            case MailEnd.SKIPPED:
                await self._mail_skipped(order, report.why)
            case unknown:
                assert_never(unknown)
        return end

    async def _report_of(self, order: MailOrder, name: str, stop: Condition) -> MailReport | None:
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
            if await came_true(stop, by=by, waiting_for=f"the turn of {name}"):
                return None
            order = replace(order, at=workflow.time(), waited=workflow.time() - began)
        return None

    async def _mail_delayed(self, order: MailOrder, why: str) -> None:
        """Note that a mail has not left yet; told once for each reason."""
        await self._note("mail_delayed", key=f"{order.kind}-{order.number}-{why}", detail={"why": why})

    async def _mail_skipped(self, order: MailOrder, why: str) -> None:
        """Note that a mail is withheld, or was overtaken."""
        name = f"{order.kind}-{order.number}"
        await self._note("mail_skipped", key=f"{name}-{order.at:.0f}", detail={"why": why})

    async def _sent_unless(self, stop: Condition, order: MailOrder) -> MailReport | None:
        """Have it sent; one about what is not in the database is tried at long intervals, and staff is told."""
        try:
            return await _tried_unless(stop, order)
        except ActivityError as error:
            cause = missing_in(error)
        again = asked_now(order)
        try:
            return await self.asking.missing(cause, lambda: _tried(stop, again, Work.MAIL_RETRIES, SELDOM_MAILING))
        except ActivityError:
            return _GIVEN_UP


async def _tried_unless(stop: Condition, order: MailOrder) -> MailReport | None:
    """Have it tried once where first tries have slots of their own, then again and again where retries have theirs.

    Raises the ActivityError of a mail whose subject is missing.
    """
    tries = ((first_try(order.kind), FIRST_MAILING), (Work.MAIL_RETRIES, MAILING))
    for number, (work, patience) in enumerate(tries):
        if number and await came_true(stop, by=workflow.time() + _SECOND_TRY, waiting_for="the second try of a mail"):
            return None
        try:
            return await _tried(stop, order, work, patience)
        except ActivityError as error:
            if not _may_be_tried_again(error):
                if missing_in(error):
                    raise
                break
    return _GIVEN_UP


async def _tried(stop: Condition, order: MailOrder, work: Work, patience: Patience) -> MailReport | None:
    """Have it tried, but no longer than until `stop`: Temporal retries a mail for days. None when that came first."""
    queue = task_queue_of(main_queue_of(workflow.info().task_queue), work)
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
