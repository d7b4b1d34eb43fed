"""KeyNoticeWorkflow: inform a customer by one or two mails that need no answer."""

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
        OBSOLETE,
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
    # In this order: the mail to the new address must not use up the daily cap of the old one's.
    NoticeKind.CONTACT_CHANGED: (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT),
    NoticeKind.WEBHOOK_CHANGED: (MailKind.WEBHOOK_CHANGED,),
}
_HEADLINE = {
    NoticeFinalState.SENT: "The customer was informed",
    NoticeFinalState.OBSOLETE: "Not sent: a later change made it obsolete",
    NoticeFinalState.FAILED: "Support staff is needed",
}


@workflow.defn
class KeyNoticeWorkflow(MailSender):
    """One notice, with all its mails. Returns its final state."""

    @workflow.init
    def __init__(self, notice: NoticeInput) -> None:
        self._notice = notice
        self._ignored_signals = IgnoredSignals(WorkflowKind.NOTICE, notice.notice_id)
        self._undelivered = False
        self._final_state: NoticeFinalState | None = None
        self.current_details = CurrentDetails(f"Notice {notice.notice_id}: {notice.kind}")
        self.caller = ActivityCaller(WorkflowKind.NOTICE, notice.notice_id, self.current_details)

    @workflow.run
    async def run(self, _notice: NoticeInput) -> NoticeFinalState:
        """Send the mails, and wait for the deadline beside, until one of the two ends the notice."""
        self.current_details.update("Informing the customer")
        await asyncio.gather(self._send_mails(), self._wait_for_deadline())
        assert self._final_state is not None
        self.current_details.update(_HEADLINE[self._final_state])
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._final_state

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, _content: Sequence[RawValue]) -> None:
        """Record the signal as ignored: this workflow takes none."""
        await self._ignored_signals.record(name, RefusalReason.UNKNOWN_NAME)

    async def _send_mails(self) -> None:
        """Send every mail; one that can't be delivered does not hold back the next."""
        for kind in _MAILS[self._notice.kind]:
            await self._send_mail(SendMailInput(self._notice.notice_id, kind, 1, workflow.time()), stop=self._ended)
        self._end(NoticeFinalState.SENT)

    async def _wait_for_deadline(self) -> None:
        """Give up the mails that were not sent when `ttl` is over."""
        start = self._notice.started_at or workflow.info().workflow_start_time.timestamp()
        if not await wait_until(self._ended, deadline=start + self._notice.ttl, summary="end of the notice"):
            await self._notify_staff("mail_late", "The mail was not sent in time.")
            self._end(NoticeFinalState.FAILED)

    def _end(self, final_state: NoticeFinalState) -> None:
        """Set the final state, once. A mail that could not be delivered makes it FAILED, whatever comes after."""
        self._final_state = self._final_state or (NoticeFinalState.FAILED if self._undelivered else final_state)

    def _ended(self) -> bool:
        return self._final_state is not None

    async def _notify_staff(self, event: str, message: str, *, key: str = "") -> None:  # noqa: ARG002  # no timeline
        """Show it in the current details; `octy accounts show` shows the mail's state and error."""
        self._undelivered = True
        self.current_details.update(staff=f"Support staff is needed. {message}")

    async def _record_event(self, event: str, *, key: str = "", detail: EventDetail | None = None) -> None:  # noqa: ARG002  # no timeline
        """Look for the reason of a skipped mail: an outdated one ends the notice."""
        reason = (detail or {}).get("why")
        if reason == OBSOLETE:
            self._end(NoticeFinalState.OBSOLETE)
        elif reason == DAILY_CAP:
            self.current_details.update(delayed="The daily cap on mails is reached. The mail is sent after a day.")

    async def _on_mail_sent(self, mail: SendMailInput) -> None:  # noqa: ARG002  # the same for all
        self.current_details.update(delayed="")
