"""KeyRegenerationWorkflow: issue → prove → send → wait for collection → retire the old pair.

Here: when what happens to the new pair and to the old one. Not here: keys, digests and links, which only the
activities see; why the keys are replaced, which is `incident`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.activity_calls import ActivityCaller
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.mails import MailSender
    from octy_workflows.messages import (
        COLLECTED,
        DAY,
        FINAL_REGENERATION_STATES,
        BeginOverlapInput,
        DeliveryMethod,
        EventDetail,
        FinishRegenerationInput,
        LoadFactsInput,
        MailFinalState,
        MailKind,
        RecordRegenerationEventInput,
        RefusalReason,
        RegenerationFinalState,
        RegenerationInput,
        RegenerationStepInput,
        RenewLinkInput,
        SendMailInput,
        Signal,
        StaffAction,
        WorkflowKind,
    )
    from octy_workflows.retry import BACKGROUND_RETRY, never, wait_until
    from octy_workflows.search_attributes import SearchAttributes
    from octy_workflows.signals import FactsLoader, IgnoredSignals
    from octy_workflows.staff_input import TOO_EARLY, TOO_LATE, StaffRequests, refusal, request_id_in_update

_MAKING, _SENT = "open", "sent"  # the words of the row's state; the others are COLLECTED and `RegenerationFinalState`
_OPEN = (_MAKING, _SENT, COLLECTED)
_HOW_TO_RESEND = {
    DeliveryMethod.LINK: "To send a fresh link at once: `octy incidents resend --kind new_keys`.",
    DeliveryMethod.MAIL: "To send the keys again at once: `octy incidents resend --kind new_keys`.",
}
_WAITING = {
    DeliveryMethod.LINK: "Waiting for the customer to collect the new keys",
    DeliveryMethod.MAIL: "The mail with the new keys is on its way",
}
_UNCOLLECTED = {
    DeliveryMethod.LINK: "The new keys are not collected yet.",
    DeliveryMethod.MAIL: "No mail server has accepted the new keys yet.",
}
_KEYS_MAIL = {DeliveryMethod.LINK: MailKind.NEW_KEYS, DeliveryMethod.MAIL: MailKind.NEW_KEYS_INSIDE}
_MAILED = "the mail server has accepted the mail with the keys, and the secret is erased; other keys can be ordered"


@workflow.defn
class KeyRegenerationWorkflow(MailSender):
    """One new pair, from its issue to the end of the pair that it replaces. Returns how it ended."""

    @workflow.init
    def __init__(self, case: RegenerationInput) -> None:
        self._case = case
        self._id = case.regeneration_id
        self._outcome = ""  # of the delivery, as SQL says: COLLECTED or an Ending; empty while it is open
        self._looks = FactsLoader(self._look)
        self._backed: list[str] = []  # signals for which SQL has a row, when it was looked at last
        self._ignored = IgnoredSignals(WorkflowKind.REGENERATION, case.regeneration_id)
        self._orders = StaffRequests(WorkflowKind.REGENERATION, case.regeneration_id)
        self._resent: dict[str, int] = {}  # numbers of mails, by order id
        self._generation = 0  # of the newest link; 0 before there are keys to send
        self._old_pair_ended = False
        self._renewing = asyncio.Lock()
        self._needed_for: list[str] = []  # causes for which staff was called, and which are not over
        self._noting = asyncio.Lock()  # what SQL holds last came last
        self.board = CurrentDetails(f"Regeneration {case.regeneration_id}")
        self.asking = ActivityCaller(WorkflowKind.REGENERATION, case.regeneration_id, self.board, show=self._show_need)
        self._index = SearchAttributes(off=not case.searchable)
        self._state = _MAKING

    # The story of a new pair

    @workflow.run
    async def run(self, _case: RegenerationInput) -> str:
        """DeliveryMethod a new pair; the old one ends only when the new one is in the customer's hands."""
        self._enter(_MAKING)
        await self._make_pair()
        await self._looks.caught_up()  # nothing is sent that was collected
        ended = ""
        while ended not in FINAL_REGENERATION_STATES:
            await self._deliver()
            ended = self._outcome if self._outcome == COLLECTED else await self._finish(self._outcome)
            if ended == COLLECTED:
                ended = await self._hand_over()
            self._outcome = ended if ended in FINAL_REGENERATION_STATES else ""  # SQL denies it, so it goes on
        await workflow.wait_condition(workflow.all_handlers_finished)
        return ended

    async def _hand_over(self) -> str:
        """End the old pair, for the customer has the new one; return the state that stands in SQL."""
        self._enter(COLLECTED)
        await self._relieve(*self._needed_for, because="the keys were collected")
        return await self._finish(RegenerationFinalState.DONE) if await self._retire_old_pair() else _SENT

    async def _make_pair(self) -> None:
        """Issue, prove and activate. What fails for good ends the regeneration, and staff is told."""
        self.board.show("The new keys are being made")
        try:
            for step in (activities.issue_pair, activities.prove_pair, activities.activate_pair):
                await self.asking.ask(step, RegenerationStepInput(self._id, workflow.time()), "new pair")
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._outcome = self._outcome or RegenerationFinalState.ABANDONED
            await self._call_staff("pair_failed", "The new keys could not be made.")

    async def _deliver(self) -> None:
        """Write to the customer and watch the calendar, side by side, until the outcome is known."""
        if self._outcome:
            return
        self._generation = max(self._generation, self._case.past.generation)
        self._enter(_SENT)
        self.board.show(_WAITING[self._case.deliver], how=_HOW_TO_RESEND[self._case.deliver])
        if self._case.past.expired:  # while nobody was there to renew it
            await self._renew_link()
        await asyncio.gather(self._write_to_customer(), self._watch_calendar())
        self.board.show(how="", staff="")

    async def _write_to_customer(self) -> None:
        while not self._outcome:
            await self._write_link(self._generation)

    async def _watch_calendar(self) -> None:
        """Send fresh links, tell staff, give up; counted from now, when the first mail is ordered.

        One that is started again counts from its first start, and leaves out the links that were due before.
        """
        times, now = self._case.times, workflow.time()
        start = self._case.past.began or now
        steps: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            *((after, self._renew_link) for after in times.resend_after if start + after >= now),
            (times.staff_after, self._call_staff_to_collection),
        ]
        for after, step in sorted(steps, key=itemgetter(0)):
            if after < times.abandon_after and not await self._ended_by(start + after):
                await step()
        if not await self._ended_by(start + times.abandon_after):
            self._outcome = RegenerationFinalState.ABANDONED

    async def _retire_old_pair(self) -> bool:
        """Let the old pair live on for the overlap; a leaked one was retired with the activation.

        False when SQL knows of no collection: then nothing ends.
        """
        if not self._case.replaces:
            return True
        if not self._case.leaked and not await self._overlap():
            return False
        self.board.show("The old keys are retired")
        await self._mail(SendMailInput(self._id, MailKind.KEYS_RETIRED, 1, workflow.time()), stop=never)
        return True

    async def _overlap(self) -> bool:
        self.board.show("The customer has the new keys; the old ones still work")
        order = BeginOverlapInput(self._id, workflow.time(), self._case.times.overlap)
        end = await self.asking.ask(activities.begin_overlap, order, "old pair")
        if end is None:
            return False
        _, cut = await asyncio.gather(self._warn_before(end), self._end_old_pair(end))
        return cut

    async def _end_old_pair(self, end: float) -> bool:
        """Cut the old pair when its time is over; a word about its use that has not left by then is given up."""
        await wait_until(never, by=end, waiting_for="the end of the old keys")
        self._old_pair_ended = True
        step = RegenerationStepInput(self._id, workflow.time())
        return await self.asking.ask(activities.retire_old_pair, step, "old pair")

    async def _warn_before(self, end: float) -> None:
        """Tell the customer that the old pair is still in use, if it is, while there is time to do something."""
        times = self._case.times
        if not 0 < times.warn_before < times.overlap:
            return
        if await wait_until(self._has_old_pair_ended, by=end - times.warn_before, waiting_for="a look at the old keys"):
            return
        if workflow.time() >= end:
            return
        uses = await self._count_old_uses(by=end)
        if uses:
            await self._note("old_keys_still_used", detail={"requests": uses})
            order = SendMailInput(self._id, MailKind.STILL_USED, 1, workflow.time())
            await self._mail_once(order, stop=self._has_old_pair_ended)

    async def _count_old_uses(self, by: float) -> int:
        """LoadFactsInput at the old pair's uses; 0 when that can't be done in time, for nothing waits for a warning."""
        left = timedelta(seconds=by - workflow.time())
        step = RegenerationStepInput(self._id, workflow.time())
        try:
            return await workflow.execute_activity(
                activities.count_old_uses, step, schedule_to_close_timeout=left, **BACKGROUND_RETRY, summary="old pair"
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return 0

    def _has_old_pair_ended(self) -> bool:
        return self._old_pair_ended

    # Who is heard

    @workflow.signal(dynamic=True)
    async def hear(self, name: str, _said: Sequence[RawValue]) -> None:
        """LoadFactsInput at SQL, whatever was sent: no signal says what is so. One that no row backs is noted and counted."""
        await self._looks.again()
        if name not in (Signal.KEYS_COLLECTED, Signal.SUPERSEDED):
            await self._ignored.note(name, RefusalReason.UNKNOWN_NAME)
        elif name not in self._backed:
            await self._ignored.note(name, RefusalReason.NO_ROW)

    @workflow.update
    async def resend(self, said: Any) -> int:
        """Take the order of this id: renew the link and mail it at once, or the keys; return the mail's number.

        Fails as "Invalid", "OrderRefused", "TooEarly" or "TooLate"; a repeat sends nothing.
        """
        order_id = request_id_in_update(said)
        if order_id not in self._resent:
            await self._orders.use(order_id, StaffAction.RESEND_KEYS)
            generation = await self._renew_link()
            if not generation:
                raise refusal("too late: the keys were just collected, or replaced by later ones", TOO_LATE)
            self._resent[order_id] = generation
        return self._resent[order_id]

    @resend.validator
    def _refuse(self, said: Any) -> None:
        if request_id_in_update(said) in self._resent:
            return
        if self._outcome == COLLECTED and self._case.deliver is DeliveryMethod.MAIL:
            raise refusal(f"too late: {_MAILED}", TOO_LATE)
        if self._outcome:
            raise refusal(f"too late: this delivery is {self._outcome}", TOO_LATE)
        if not self._generation:
            raise refusal("too early: the new keys are still being made, their mail will follow", TOO_EARLY)

    # How it is done

    async def _look(self) -> None:
        """Read what SQL says, and go by it."""
        look = LoadFactsInput(self._id, workflow.time())
        facts = await self.asking.ask(activities.look_at_regeneration, look, "facts")
        self._backed = facts.backed
        in_vain = facts.ending if facts.ending != RegenerationFinalState.DONE else ""
        self._outcome = self._outcome or in_vain or (COLLECTED if facts.collected else "")

    async def _ended_by(self, due: float) -> bool:
        return await wait_until(lambda: bool(self._outcome), by=due, waiting_for="the customer to collect")

    async def _write_link(self, number: int) -> None:
        """Mail one link; a newer one takes its place even while it is being tried."""

        def outdated() -> bool:
            return bool(self._outcome) or self._generation > number

        order = SendMailInput(self._id, _KEYS_MAIL[self._case.deliver], number, workflow.time())
        withheld = await self._mail_once(order, outdated) is MailFinalState.SKIPPED
        if withheld and not await wait_until(outdated, by=order.at + DAY, waiting_for="the daily cap on mails"):
            await self._renew_link()  # the withheld one has aged
        await workflow.wait_condition(outdated)

    async def _renew_link(self) -> int:
        """Have a fresh link, which will be mailed; return its generation, or 0 when there is none left."""
        async with self._renewing:
            order = RenewLinkInput(self._id, self._generation + 1, workflow.time())
            summary = f"link {order.generation}"
            generation = await self.asking.ask(activities.renew_link, order, summary)
            self._generation = max(self._generation, generation)
            return generation

    async def _finish(self, ending: str) -> str:
        """Return what stands in SQL: the customer may have collected in the last moment."""
        order = FinishRegenerationInput(self._id, ending, workflow.time())
        summary = f"as {ending}"
        stands = await self.asking.ask(activities.finish_regeneration, order, summary)
        self.board.show(f"Ended: {stands}")
        self._enter(stands)
        return stands

    async def _call_staff_to_collection(self) -> None:
        await self._call_staff("not_collected", _UNCOLLECTED[self._case.deliver])

    async def _call_staff(self, what: str, remark: str, *, key: str = "") -> None:
        self.board.show(staff=f"Support staff is needed. {remark}")
        self._needed_for.append(what)
        self._enter(self._state)
        await self._note(what, key=key, needs_staff=True)

    async def _mail_left(self, order: SendMailInput) -> None:
        await self._relieve("mail_failed", because=f"{order.kind}-{order.number} was sent")

    async def _relieve(self, *causes: str, because: str) -> None:
        """Take staff tasks back whose cause is over, in the cases that wait, when they were the last ones."""
        left = [cause for cause in self._needed_for if cause not in causes]
        if left == self._needed_for:
            return
        self._needed_for = left
        if not left:
            self.board.show(staff="")
            self._enter(self._state)
            await self._note(
                "staff_not_needed", key=f"{workflow.time():.3f}", staff_done=True, detail={"because": because}
            )

    def _enter(self, state: str) -> None:
        self._state = state
        self._show_need(missing=False)

    def _show_need(self, missing: bool) -> None:  # noqa: FBT001  # a callback
        needed = missing or (bool(self._needed_for) and self._state in _OPEN)
        self._index.show(self._state, needs_staff=needed)

    async def _note(
        self,
        what: str,
        *,
        key: str = "",
        needs_staff: bool = False,
        detail: EventDetail | None = None,
        staff_done: bool = False,
    ) -> None:
        name = f"{what}-{key}" if key else what
        note = RecordRegenerationEventInput(
            self._id, name, what, workflow.time(), needs_staff, detail or {}, staff_done
        )
        async with self._noting:
            await self.asking.ask(activities.note_regeneration, note, what)
