"""KeyRegenerationWorkflow: issue a key pair → verify → mail → wait for collection → retire the old key pair.

The workflow sees no keys, digests or links; only the activities do.
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
    from octy_workflows.mails import MAIL_FAILED, MailSender
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
    from octy_workflows.staff_input import TOO_EARLY, TOO_LATE, StaffOrders, order_id_in_update, refusal

_OPEN, _SENT = "open", "sent"  # states of the row; the others are COLLECTED and `RegenerationFinalState`
_NOT_FINAL = (_OPEN, _SENT, COLLECTED)
_HOW_TO_RESEND = {
    DeliveryMethod.LINK: "To send a new link at once: `octy incidents resend --kind new_keys`.",
    DeliveryMethod.MAIL: "To send the keys again at once: `octy incidents resend --kind new_keys`.",
}
_WAITING = {
    DeliveryMethod.LINK: "Waiting for the customer to collect the new keys",
    DeliveryMethod.MAIL: "Sending the mail with the new keys",
}
_UNCOLLECTED = {
    DeliveryMethod.LINK: "The new keys are not collected yet.",
    DeliveryMethod.MAIL: "No mail server has accepted the new keys yet.",
}
_KEYS_MAIL = {DeliveryMethod.LINK: MailKind.NEW_KEYS, DeliveryMethod.MAIL: MailKind.NEW_KEYS_INSIDE}
_MAILED = "the mail server accepted the mail with the keys, and the secret is erased; start another regeneration"


@workflow.defn
class KeyRegenerationWorkflow(MailSender):
    """One regeneration, from the new key pair's issue to the old one's end. Returns its final state."""

    @workflow.init
    def __init__(self, regeneration: RegenerationInput) -> None:
        self._regeneration = regeneration
        self._id = regeneration.regeneration_id
        # COLLECTED or a RegenerationFinalState; empty while the new secret is being delivered.
        self._delivery_state = ""
        self._facts_loader = FactsLoader(self._load_facts)
        self._recorded_signals: list[str] = []  # of the facts loaded last
        self._ignored_signals = IgnoredSignals(WorkflowKind.REGENERATION, regeneration.regeneration_id)
        self._staff_orders = StaffOrders(WorkflowKind.REGENERATION, regeneration.regeneration_id)
        self._resent: dict[str, int] = {}  # numbers of mails, by order id
        self._generation = 0  # of the newest link; 0 before there are keys to send
        self._old_pair_ended = False
        self._renew_lock = asyncio.Lock()
        self._staff_causes: list[str] = []  # events for which staff was notified, and which are not resolved
        self._event_lock = asyncio.Lock()  # events are written one after the other, so the last one is the newest
        self.current_details = CurrentDetails(f"Regeneration {regeneration.regeneration_id}")
        self.caller = ActivityCaller(
            WorkflowKind.REGENERATION,
            regeneration.regeneration_id,
            self.current_details,
            on_missing=self._on_missing,
        )
        self._search_attributes = SearchAttributes(enabled=regeneration.searchable)
        self._state = _OPEN

    # Steps

    @workflow.run
    async def run(self, _regeneration: RegenerationInput) -> str:
        """Deliver a new key pair; the old one ends only when the customer has collected the new secret."""
        self._set_state(_OPEN)
        await self._make_key_pair()
        await self._facts_loader.wait_for_pending()  # no mail for a secret that was collected already
        state = ""
        while state not in FINAL_REGENERATION_STATES:
            await self._deliver()
            state = (
                self._delivery_state if self._delivery_state == COLLECTED else await self._finish(self._delivery_state)
            )
            if state == COLLECTED:
                state = await self._complete()
            # When the database refuses to finish it, the delivery goes on.
            self._delivery_state = state if state in FINAL_REGENERATION_STATES else ""
        await workflow.wait_condition(workflow.all_handlers_finished)
        return state

    async def _complete(self) -> str:
        """Retire the old key pair, because the new secret is collected; return the state in the database."""
        self._set_state(COLLECTED)
        await self._resolve(*self._staff_causes, because="the keys were collected")
        return await self._finish(RegenerationFinalState.DONE) if await self._retire_old_pair() else _SENT

    async def _make_key_pair(self) -> None:
        """Issue, verify and activate. A permanent failure ends the regeneration and notifies staff."""
        self.current_details.update("Making the new keys")
        try:
            for activity in (activities.issue_key_pair, activities.verify_key_pair, activities.activate_key_pair):
                await self.caller.execute(activity, RegenerationStepInput(self._id, workflow.time()), "new pair")
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._delivery_state = self._delivery_state or RegenerationFinalState.ABANDONED
            await self._notify_staff("pair_failed", "The new keys could not be made.")

    async def _deliver(self) -> None:
        """Send mails, and wait for the deadlines beside, until the secret is collected or the delivery ends."""
        if self._delivery_state:
            return
        self._generation = max(self._generation, self._regeneration.restart.generation)
        self._set_state(_SENT)
        method = self._regeneration.delivery_method
        self.current_details.update(_WAITING[method], resend=_HOW_TO_RESEND[method])
        if self._regeneration.restart.expired:
            await self._renew_link()
        await asyncio.gather(self._send_mails(), self._wait_for_deadlines())
        self.current_details.update(resend="", staff="")

    async def _send_mails(self) -> None:
        while not self._delivery_state:
            await self._send_keys_mail(self._generation)

    async def _wait_for_deadlines(self) -> None:
        """Send new links, notify staff, give up; counted from the first mail.

        A workflow that is started again counts from its first start, and leaves out links that were due before.
        """
        times, now = self._regeneration.times, workflow.time()
        start = self._regeneration.restart.started_at or now
        steps: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            *((after, self._renew_link) for after in times.resend_after if start + after >= now),
            (times.staff_after, self._notify_staff_of_collection),
        ]
        for after, step in sorted(steps, key=itemgetter(0)):
            if after < times.abandon_after and not await self._delivered_by(start + after):
                await step()
        if not await self._delivered_by(start + times.abandon_after):
            self._delivery_state = RegenerationFinalState.ABANDONED

    async def _retire_old_pair(self) -> bool:
        """Retire the old key pair after the overlap; a leaked one was retired with the activation.

        Return False when the database knows of no collection: then nothing is retired.
        """
        if not self._regeneration.replaces:
            return True
        if not self._regeneration.leaked and not await self._overlap():
            return False
        self.current_details.update("The old keys are retired")
        await self._send_mail(SendMailInput(self._id, MailKind.KEYS_RETIRED, 1, workflow.time()), stop=never)
        return True

    async def _overlap(self) -> bool:
        self.current_details.update("The customer has the new keys; the old ones are still accepted")
        step = BeginOverlapInput(self._id, workflow.time(), self._regeneration.times.overlap)
        end = await self.caller.execute(activities.begin_overlap, step, "old pair")
        if end is None:
            return False
        _, retired = await asyncio.gather(self._warn_before(end), self._end_overlap(end))
        return retired

    async def _end_overlap(self, end: float) -> bool:
        """Retire the old key pair when the overlap is over. A warning that was not sent by then is given up."""
        await wait_until(never, deadline=end, summary="end of the old keys")
        self._old_pair_ended = True
        step = RegenerationStepInput(self._id, workflow.time())
        return await self.caller.execute(activities.retire_old_key_pair, step, "old pair")

    async def _warn_before(self, end: float) -> None:
        """Warn the customer when the old key pair is still used shortly before its end."""
        times = self._regeneration.times
        if not 0 < times.warn_before < times.overlap:
            return
        await wait_until(never, deadline=end - times.warn_before, summary="check of the old keys' use")
        if workflow.time() >= end:
            return
        uses = await self._count_old_key_uses(deadline=end)
        if uses:
            await self._record_event("old_keys_still_used", detail={"requests": uses})
            mail = SendMailInput(self._id, MailKind.STILL_USED, 1, workflow.time())
            await self._send_mail_once(mail, stop=self._has_old_pair_ended)

    async def _count_old_key_uses(self, deadline: float) -> int:
        """Return the number of uses; 0 when it can't be counted in time, because the overlap ends all the same."""
        timeout = timedelta(seconds=deadline - workflow.time())
        step = RegenerationStepInput(self._id, workflow.time())
        try:
            return await workflow.execute_activity(
                activities.count_old_key_uses,
                step,
                schedule_to_close_timeout=timeout,
                **BACKGROUND_RETRY,
                summary="old pair",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return 0

    def _has_old_pair_ended(self) -> bool:
        return self._old_pair_ended

    # Signals and updates

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, _content: Sequence[RawValue]) -> None:
        """Load the facts from the database: no signal is believed. One without a row is recorded and counted."""
        await self._facts_loader.reload()
        if name not in (Signal.KEYS_COLLECTED, Signal.SUPERSEDED):
            await self._ignored_signals.record(name, RefusalReason.UNKNOWN_NAME)
        elif name not in self._recorded_signals:
            await self._ignored_signals.record(name, RefusalReason.NO_ROW)

    @workflow.update
    async def resend(self, value: Any) -> int:
        """Use the staff order of this id: mail a new link, or the keys, at once; return the mail's number.

        Fails as "Invalid", "StaffOrderRefused", "TooEarly" or "TooLate"; a repeat sends nothing.
        """
        order_id = order_id_in_update(value)
        if order_id not in self._resent:
            await self._staff_orders.use(order_id, StaffAction.RESEND_KEYS)
            generation = await self._renew_link()
            if not generation:
                raise refusal("too late: the keys were just collected, or replaced by later ones", TOO_LATE)
            self._resent[order_id] = generation
        return self._resent[order_id]

    @resend.validator
    def _check_resend(self, value: Any) -> None:
        if order_id_in_update(value) in self._resent:
            return
        if self._delivery_state == COLLECTED and self._regeneration.delivery_method is DeliveryMethod.MAIL:
            raise refusal(f"too late: {_MAILED}", TOO_LATE)
        if self._delivery_state:
            raise refusal(f"too late: this regeneration is {self._delivery_state}", TOO_LATE)
        if not self._generation:
            raise refusal("too early: the new keys are still being made, their mail will follow", TOO_EARLY)

    # Helpers

    async def _load_facts(self) -> None:
        step = LoadFactsInput(self._id, workflow.time())
        facts = await self.caller.execute(activities.load_regeneration_facts, step, "facts")
        self._recorded_signals = facts.recorded_signals
        failed = facts.final_state if facts.final_state != RegenerationFinalState.DONE else ""
        self._delivery_state = self._delivery_state or failed or (COLLECTED if facts.collected else "")

    async def _delivered_by(self, deadline: float) -> bool:
        return await wait_until(lambda: bool(self._delivery_state), deadline=deadline, summary="collection of the keys")

    async def _send_keys_mail(self, number: int) -> None:
        """Mail the new link, or the keys; a newer link stops this, even while the mail is retried."""

        def outdated() -> bool:
            return bool(self._delivery_state) or self._generation > number

        mail = SendMailInput(self._id, _KEYS_MAIL[self._regeneration.delivery_method], number, workflow.time())
        skipped = await self._send_mail_once(mail, outdated) is MailFinalState.SKIPPED
        if skipped and not await wait_until(outdated, deadline=mail.at + DAY, summary="daily cap on mails"):
            await self._renew_link()  # the link of the skipped mail is a day old
        await workflow.wait_condition(outdated)

    async def _renew_link(self) -> int:
        """Create a new link, which is then mailed; return its generation, or 0 when the secret is gone."""
        async with self._renew_lock:
            step = RenewLinkInput(self._id, self._generation + 1, workflow.time())
            generation = await self.caller.execute(activities.renew_link, step, f"link {step.generation}")
            self._generation = max(self._generation, generation)
            return generation

    async def _finish(self, state: str) -> str:
        """Finish; return the state in the database, for the customer may have collected the secret just now."""
        step = FinishRegenerationInput(self._id, state, workflow.time())
        finished = await self.caller.execute(activities.finish_regeneration, step, f"as {state}")
        self.current_details.update(f"Ended: {finished}")
        self._set_state(finished)
        return finished

    async def _notify_staff_of_collection(self) -> None:
        await self._notify_staff("not_collected", _UNCOLLECTED[self._regeneration.delivery_method])

    async def _notify_staff(self, event: str, message: str, *, key: str = "") -> None:
        self.current_details.update(staff=f"Support staff is needed. {message}")
        self._staff_causes.append(event)
        self._set_state(self._state)
        await self._record_event(event, key=key, needs_staff=True)

    async def _on_mail_sent(self, mail: SendMailInput) -> None:
        await self._resolve(MAIL_FAILED, because=f"{mail.name} was sent")

    async def _resolve(self, *causes: str, because: str) -> None:
        """Close staff tasks; the incidents that wait return to their state when these were the last ones."""
        left = [cause for cause in self._staff_causes if cause not in causes]
        if left == self._staff_causes:
            return
        self._staff_causes = left
        if not left:
            self.current_details.update(staff="")
            self._set_state(self._state)
            await self._record_event(
                "staff_not_needed", key=f"{workflow.time():.3f}", staff_not_needed=True, detail={"because": because}
            )

    def _set_state(self, state: str) -> None:
        self._state = state
        self._on_missing(missing=False)

    def _on_missing(self, missing: bool) -> None:  # noqa: FBT001  # a callback
        needs_staff = missing or (bool(self._staff_causes) and self._state in _NOT_FINAL)
        self._search_attributes.set_state(self._state, needs_staff=needs_staff)

    async def _record_event(
        self,
        event: str,
        *,
        key: str = "",
        needs_staff: bool = False,
        detail: EventDetail | None = None,
        staff_not_needed: bool = False,
    ) -> None:
        name = f"{event}-{key}" if key else event
        step = RecordRegenerationEventInput(
            self._id, name, event, workflow.time(), needs_staff, detail or {}, staff_not_needed
        )
        async with self._event_lock:
            await self.caller.execute(activities.record_regeneration_event, step, event)
