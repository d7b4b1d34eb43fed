"""KeyNoticeWorkflow: what a customer must be told and that is no case, told by mail.

Here: which mails a notice has, in which order, and when trying ends. Not here: what they say and to whom they go, which
the activity knows; what the customer does about it, which is `regeneration` when new keys are ordered.
"""

import asyncio
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from octy_workflows.activity_calls import ActivityCaller
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.mails import MailSender
    from octy_workflows.messages import (
        DAILY_CAP,
        OUTDATED,
        EventDetail,
        MailKind,
        NoticeFinalState,
        NoticeInput,
        NoticeKind,
        RefusalReason,
        SendMailInput,
        WorkflowKind,
    )
    from octy_workflows.retry import wait_until
    from octy_workflows.signals import IgnoredSignals

_MAILS = {
    NoticeKind.EXPOSED: (MailKind.EXPOSED,),
    NoticeKind.KEYS_ADDED: (MailKind.KEYS_ADDED,),
    # One after the other: the mail to the new address must not take the old one's place under the daily cap.
    NoticeKind.CONTACT_CHANGED: (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT),
    NoticeKind.WEBHOOK_CHANGED: (MailKind.WEBHOOK_CHANGED,),
}
_HEADLINE = {
    NoticeFinalState.TOLD: "The customer was told",
    NoticeFinalState.OUTDATED: "There was nothing left to tell",
    NoticeFinalState.FAILED: "Support staff is needed",
}


@workflow.defn
class KeyNoticeWorkflow(MailSender):
    """One notice, from its cause to its last mail. Returns how it ended."""

    @workflow.init
    def __init__(self, case: NoticeInput) -> None:
        self._case = case
        self._ignored = IgnoredSignals(WorkflowKind.NOTICE, case.notice_id)
        self._undelivered = False
        self._end: NoticeFinalState | None = None
        self.board = CurrentDetails(f"Notice {case.notice_id}: {case.kind}")
        self.asking = ActivityCaller(WorkflowKind.NOTICE, case.notice_id, self.board)

    @workflow.run
    async def run(self, _case: NoticeInput) -> NoticeFinalState:
        """Write to the customer and watch the calendar, side by side, until there is nothing more to do."""
        self.board.show("The customer is being told")
        await asyncio.gather(self._write_to_customer(), self._watch_calendar())
        assert self._end is not None
        self.board.show(_HEADLINE[self._end])
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._end

    @workflow.signal(dynamic=True)
    async def hear(self, name: str, _said: Sequence[RawValue]) -> None:
        """Note and count it: this workflow goes by no signal."""
        await self._ignored.note(name, RefusalReason.UNKNOWN_NAME)

    async def _write_to_customer(self) -> None:
        """Have every mail sent; one that can't be delivered does not hold back the next."""
        for kind in _MAILS[self._case.kind]:
            await self._mail(SendMailInput(self._case.notice_id, kind, 1, workflow.time()), stop=self._ended)
        self._end_as(NoticeFinalState.TOLD)

    async def _watch_calendar(self) -> None:
        """Give up what has not left by the end of the notice's life: nobody waits for old news."""
        end = (self._case.began or workflow.info().workflow_start_time.timestamp()) + self._case.life
        if not await wait_until(self._ended, by=end, waiting_for="the end of the notice"):
            await self._call_staff("mail_late", "The mail did not leave in time.")
            self._end_as(NoticeFinalState.FAILED)

    def _end_as(self, end: NoticeFinalState) -> None:
        """End, once. What could not be delivered is for staff, whatever came after it."""
        self._end = self._end or (NoticeFinalState.FAILED if self._undelivered else end)

    def _ended(self) -> bool:
        return self._end is not None

    async def _call_staff(self, what: str, remark: str, *, key: str = "") -> None:  # noqa: ARG002  # no timeline
        """Tell on the board; `octy accounts show` has the mail's state and fault."""
        self._undelivered = True
        self.board.show(staff=f"Support staff is needed. {remark}")

    async def _note(self, what: str, *, key: str = "", detail: EventDetail | None = None) -> None:  # noqa: ARG002  # no timeline
        """Hear why a mail was skipped: one that was overtaken ends the notice."""
        why = (detail or {}).get("why")
        if why == OUTDATED:
            self._end_as(NoticeFinalState.OUTDATED)
        elif why == DAILY_CAP:
            self.board.show(withheld="The daily cap withholds the mail. It is ordered again after a day.")

    async def _mail_left(self, order: SendMailInput) -> None:  # noqa: ARG002  # each is told of in the same words
        self.board.show(withheld="")
