"""The mails of a case: the alert, its reminders, and what support staff has sent again.

Here: which mail has which number, and which is under way. Not here: one mail's way, which is `mails`; what it
says, which the activity knows.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.incident_answer import AnswerTracker
    from octy_workflows.incident_status import IncidentStatus
    from octy_workflows.mails import MailSender
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
    from octy_workflows.retry import wait_until
    from octy_workflows.staff_input import TOO_EARLY, TOO_LATE, StaffRequests, refusal
    from octy_workflows.staff_requests import StaffResend

MAIL_FAILED = "mail_failed"
MAIL_WITHHELD = "mail_withheld"
ALERT_HELD = "alert_held"


class IncidentMails(MailSender):
    """One case's mails. The numbers of reminders to come are kept free: one that is sent again gets a later one."""

    def __init__(
        self,
        case: IncidentInput,
        question: AnswerTracker,
        standing: IncidentStatus,
        board: CurrentDetails,
        orders: StaffRequests,
    ) -> None:
        self.board = board
        self._orders = orders
        self.asking = standing.asking
        self._id = case.incident_id
        self._remind_after = case.times.remind_after
        self._question = question
        self._standing = standing
        first = {MailKind.ALERT: 1, MailKind.REMINDER: len(self._remind_after)}
        self._numbers = {kind: max(number, case.numbers.get(kind, 0)) for kind, number in first.items()}  # given so far
        self._ended: list[MailKind] = []  # sent, or refused for good
        self._under_way: list[str] = []
        self._again: dict[str, ResendResult] = {}  # by request id
        self._by_staff: list[str] = []  # mails that staff ordered: their order tells what became of them

    async def write(self, start: float) -> None:
        """Alert, then remind. A reminder due while an earlier mail is still being tried is left out."""
        await self._write(MailKind.ALERT, 1)
        for number, after in enumerate(self._remind_after, start=1):
            due, settled = start + after, self._question.settled
            if workflow.time() <= due and not await wait_until(settled, by=due, waiting_for="the next reminder"):
                await self._write(MailKind.REMINDER, number)

    async def _write(self, kind: MailKind, number: int) -> None:
        name = f"{kind}-{number}"
        self._under_way.append(name)
        try:
            await self._mail(SendMailInput(self._id, kind, number, workflow.time()), stop=self._question.settled)
        finally:
            self._under_way.remove(name)
        self._ended.append(kind)

    def refuse(self, order_id: str) -> None:
        """Raise a refusal when there is nothing to send again. A repeat is no second order."""
        if order_id not in self._again:
            self._refuse("")

    def _refuse(self, kind: str) -> None:
        self._question.refuse_if_settled()
        if self._under_way:
            why = f"too early: mail {self._under_way[0]} is still being tried, or waits for the daily cap"
            raise refusal(why, TOO_EARLY)
        if not self._ended or (kind and kind not in self._ended):
            raise refusal(f"there is nothing to send again: no {kind or 'mail'} went out yet", TOO_EARLY)

    async def send_again(self, order_id: str, *, signalled: bool = False, why: str = "") -> ResendResult:
        """Send a mail again under a number of its own, once; return what became of it.

        One that the daily cap withholds is not ordered anew: its number is free for the next order.
        """
        if not signalled and order_id in self._again:
            return self._again[order_id]
        said = await self._orders.use(order_id, StaffAction.RESEND, why)
        assert isinstance(said, StaffResend)
        self._refuse(said.kind)
        kind = MailKind(said.kind) if said.kind else self._ended[-1]
        number = self._numbers[kind] + 1
        name = f"{kind}-{number}"
        self._under_way.append(name)
        self._by_staff.append(name)
        try:
            await self._note_order(said, name)
            order = SendMailInput(self._id, kind, number, workflow.time())
            end = await self._mail_once(order, stop=self._question.settled)
        finally:
            self._under_way.remove(name)
        if end is None:
            raise refusal("too late: the case was answered before the mail left", TOO_LATE)
        if end is not MailFinalState.SKIPPED:
            self._numbers[kind] = number
            self._ended.append(kind)
        self._again[said.request_id] = ResendResult(name, end)
        return self._again[said.request_id]

    async def _note_order(self, said: StaffResend, name: str) -> None:
        detail: EventDetail = {"mail": name, "reason": said.reason}
        await self._standing.note("mail_ordered_again", key=said.request_id, actor=said.actor, detail=detail)

    async def _mail_left(self, order: SendMailInput) -> None:
        for cause in (MAIL_FAILED, MAIL_WITHHELD, ALERT_HELD):
            await self._standing.relieve(cause, f"{order.kind}-{order.number} was sent")

    async def _mail_skipped(self, order: SendMailInput, why: str) -> None:
        name = f"{order.kind}-{order.number}"
        if why != DAILY_CAP or name in self._by_staff:
            await super()._mail_skipped(order, why)
            return
        remark = "The daily cap withholds a reminder. Please reach the customer another way."
        await self._standing.call_staff(MAIL_WITHHELD, remark, key=f"{name}-{order.at:.0f}")

    async def _mail_delayed(self, order: SendMailInput, why: str) -> None:
        if why != HELD:
            await super()._mail_delayed(order, why)
            return
        remark = "The alert is held for some minutes: it looks like a fault of our own. See `octy incidents held`."
        await self._standing.call_staff(ALERT_HELD, remark)

    async def _note(self, what: str, *, key: str = "", detail: EventDetail | None = None) -> None:
        await self._standing.note(what, key=key, detail=detail)

    async def _call_staff(self, what: str, remark: str, *, key: str = "") -> None:
        self._standing.over(ALERT_HELD)  # it was tried
        await self._standing.call_staff(what, remark, key=key)
