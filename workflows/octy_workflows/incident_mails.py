"""Mails of an incident: the alert, its reminders, and those that staff send again."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.incident_answer import AnswerTracker
    from octy_workflows.incident_status import IncidentStatus
    from octy_workflows.mails import MAIL_FAILED, MailSender
    from octy_workflows.messages import (
        DAILY_CAP,
        HELD,
        EventDetail,
        IncidentInput,
        MailFinalState,
        MailKind,
        ResendResult,
        SendMailInput,
        StaffAction,
    )
    from octy_workflows.order_content import StaffResend
    from octy_workflows.retry import wait_until
    from octy_workflows.staff_input import TOO_EARLY, TOO_LATE, StaffOrders, refusal

_MAIL_WITHHELD = "mail_withheld"
_ALERT_HELD = "alert_held"


class IncidentMails(MailSender):
    """One incident's mails. Numbers of future reminders are reserved: a mail that is sent again gets a higher one."""

    def __init__(
        self,
        incident: IncidentInput,
        answers: AnswerTracker,
        status: IncidentStatus,
        current_details: CurrentDetails,
        staff_orders: StaffOrders,
    ) -> None:
        self.current_details = current_details
        self._staff_orders = staff_orders
        self.caller = status.caller
        self._id = incident.incident_id
        self._remind_after = incident.times.remind_after
        self._answers = answers
        self._status = status
        first = {MailKind.ALERT: 1, MailKind.REMINDER: len(self._remind_after)}
        self._last_numbers = {kind: max(number, incident.mail_numbers.get(kind, 0)) for kind, number in first.items()}
        self._ended: list[MailKind] = []  # sent, or failed for good
        self._in_progress: list[str] = []
        self._resent: dict[str, ResendResult] = {}  # by order id
        self._ordered: list[str] = []  # mails ordered by staff, who get the result from the update

    async def send_alert_and_reminders(self, start: float) -> None:
        """Send the alert, then the reminders. A reminder that is due while another mail is retried is left out."""
        await self._send(MailKind.ALERT, 1)
        for number, after in enumerate(self._remind_after, start=1):
            due, settled = start + after, self._answers.settled
            if workflow.time() <= due and not await wait_until(settled, deadline=due, summary="next reminder"):
                await self._send(MailKind.REMINDER, number)

    async def _send(self, kind: MailKind, number: int) -> None:
        mail = SendMailInput(self._id, kind, number, workflow.time())
        self._in_progress.append(mail.name)
        try:
            await self._send_mail(mail, stop=self._answers.settled)
        finally:
            self._in_progress.remove(mail.name)
        self._ended.append(kind)

    def check_resend(self, order_id: str) -> None:
        """Raise a refusal when no mail can be sent again, unless this order is a repeat."""
        if order_id not in self._resent:
            self._check_resend("")

    def _check_resend(self, kind: str) -> None:
        self._answers.check_open()
        if self._in_progress:
            why = f"too early: mail {self._in_progress[0]} is still being retried, or waits for the daily cap"
            raise refusal(why, TOO_EARLY)
        if not self._ended or (kind and kind not in self._ended):
            raise refusal(f"there is nothing to send again: no {kind or 'mail'} was sent yet", TOO_EARLY)

    async def resend(self, order_id: str, *, signalled: bool = False, error: str = "") -> ResendResult:
        """Send a mail again with the next number, once for each order.

        A mail that the daily cap prevents is not retried; its number is used for the next order.
        """
        if not signalled and order_id in self._resent:
            return self._resent[order_id]
        order = await self._staff_orders.use(order_id, StaffAction.RESEND, error)
        assert isinstance(order, StaffResend)
        self._check_resend(order.kind)
        kind = MailKind(order.kind) if order.kind else self._ended[-1]
        number = self._last_numbers[kind] + 1
        name = f"{kind}-{number}"
        self._in_progress.append(name)
        self._ordered.append(name)
        try:
            await self._record_order(order, name)
            mail = SendMailInput(self._id, kind, number, workflow.time())
            state = await self._send_mail_once(mail, stop=self._answers.settled)
        finally:
            self._in_progress.remove(name)
        if state is None:
            raise refusal("too late: the incident was answered before the mail was sent", TOO_LATE)
        if state is not MailFinalState.SKIPPED:
            self._last_numbers[kind] = number
            self._ended.append(kind)
        self._resent[order.order_id] = ResendResult(name, state)
        return self._resent[order.order_id]

    async def _record_order(self, order: StaffResend, name: str) -> None:
        detail: EventDetail = {"mail": name, "reason": order.reason}
        await self._status.record_event("mail_ordered_again", key=order.order_id, actor=order.actor, detail=detail)

    async def _on_mail_sent(self, mail: SendMailInput) -> None:
        for cause in (MAIL_FAILED, _MAIL_WITHHELD, _ALERT_HELD):
            await self._status.resolve(cause, f"{mail.name} was sent")

    async def _on_mail_skipped(self, mail: SendMailInput, reason: str) -> None:
        if reason != DAILY_CAP or mail.name in self._ordered:
            await super()._on_mail_skipped(mail, reason)
            return
        message = "The daily cap prevents a reminder. Please reach the customer another way."
        await self._status.notify_staff(_MAIL_WITHHELD, message, key=f"{mail.name}-{mail.at:.0f}")

    async def _on_mail_delayed(self, mail: SendMailInput, reason: str) -> None:
        if reason != HELD:
            await super()._on_mail_delayed(mail, reason)
            return
        message = "The alert is held for some minutes: it looks like a fault of our own. See `octy incidents held`."
        await self._status.notify_staff(_ALERT_HELD, message)

    async def _record_event(self, event: str, *, key: str = "", detail: EventDetail | None = None) -> None:
        await self._status.record_event(event, key=key, detail=detail)

    async def _notify_staff(self, event: str, message: str, *, key: str = "") -> None:
        self._status.state_without(_ALERT_HELD)  # an attempt was made, so it is not held any more
        await self._status.notify_staff(event, message, key=key)
