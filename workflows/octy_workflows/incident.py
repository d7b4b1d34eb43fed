"""KeyIncidentWorkflow: alert → wait for the customer or staff → regenerate or close.

Here: when what happens in a case, and who is heard. Not here: which answer stands, which is `question`; mail; the
replacement of the keys, which is `regeneration`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.board import Board
    from octy_workflows.correspondence import Correspondent
    from octy_workflows.hearing import (
        HOW_TO_DECIDE,
        decision_in,
        decision_signalled,
        guarded,
        identified,
    )
    from octy_workflows.messages import (
        CaseState,
        CloseOrder,
        CustomerAnswer,
        DecisionReport,
        Detail,
        Ending,
        Growth,
        IncidentCase,
        IncidentNote,
        IncidentStatus,
        MailKind,
        MailOrder,
        RegenerationEnd,
        RegenerationOrder,
        Resolution,
    )
    from octy_workflows.policies import PATIENTLY, came_true
    from octy_workflows.question import Answer, Question
    from octy_workflows.staff import Choice, StaffDecision

_HEADLINE = {
    CaseState.OPENING: "The case is being opened",
    CaseState.WAITING: "Waiting for the customer's answer",
    CaseState.REGENERATING: "New keys are on their way to the customer",
    CaseState.NEEDS_STAFF: "Support staff is needed",
    CaseState.CLOSED: "Closed",
}
_MOST_SUPERSEDED = 3  # regenerations of one case that may be followed by a later one


@workflow.defn
class KeyIncidentWorkflow(Correspondent):
    """One case, from the twentieth failure to its end. Returns its resolution."""

    @workflow.init
    def __init__(self, case: IncidentCase) -> None:
        self._case = case
        self._id = case.incident_id
        self._state = CaseState.OPENING
        self._regeneration_id = case.past.regeneration_id  # the newest one for this case
        self._endings: dict[str, str] = {}  # by regeneration id
        self._superseded = 0  # how many of them
        self._refusals = 0
        self.board = Board(f"Case {case.incident_id}")
        self._question = Question(case.incident_id, self.board, leaked=case.past.leaked)

    # The story of a case

    @workflow.run
    async def run(self, _case: IncidentCase) -> Resolution:
        """Ask, act on the answer as long as it stands, and ask again when the new keys could not be delivered."""
        self.board.show(how=HOW_TO_DECIDE)
        await self._note("opened", state=CaseState.WAITING)
        await self._ask()
        while self._question.resolution is None:
            await workflow.wait_condition(lambda: self._question.answer is not None)
            await self._act_on_answer()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._question.resolution

    async def _ask(self) -> None:
        """Write to the customer and watch the calendar, side by side, until the case is settled."""
        await asyncio.gather(self._write_to_customer(), self._watch_calendar())

    async def _write_to_customer(self) -> None:
        """Alert, then remind. A reminder due while an earlier mail is still being tried is left out."""
        await self._write(MailKind.ALERT, 1)
        for number, after in enumerate(self._case.times.remind_after, start=1):
            if workflow.time() <= self._due(after) and not await self._settled_by(after, "the next reminder"):
                await self._write(MailKind.REMINDER, number)

    async def _watch_calendar(self) -> None:
        times = self._case.times
        if await self._settled_by(min(times.staff_after, times.close_after), "the staff task"):
            return
        await self._call_staff("no_answer", "The customer has not answered. Please reach them another way.")
        if not await self._settled_by(times.close_after, "the end of the case"):
            await self._end_silence()

    async def _end_silence(self) -> None:
        """Close, or regenerate where that is configured. SQL tells whether the customer just answered."""
        async with self._question.deciding:
            if self._question.answer is not None:
                return
            if not self._case.times.regenerate_on_silence:
                await self._close(Resolution.UNANSWERED)
                return
            silence = StaffDecision(Choice.REGENERATE, "system", "nobody answered in time")
            await self._question.take(replace(silence, decision_id=f"{self._id}-silence"))

    async def _act_on_answer(self) -> None:
        answer = self._question.answer
        assert answer is not None
        match answer.choice:
            case Choice.REGENERATE:
                await self._regenerate(leaked=answer.leaked)
            case Choice.DISMISS:
                await self._close(Resolution.FALSE_ALARM)
            case unknown:
                assert_never(unknown)

    async def _regenerate(self, *, leaked: bool) -> None:
        """Have the keys replaced, and wait for the end of that.

        A superseded regeneration has delivered nothing, and the answer still stands: it is acted on again, and SQL
        then names the later regeneration, which this case joins. So a case is closed as regenerated only when new
        keys have been collected, or after one supersession too many.
        """
        order = RegenerationOrder(self._id, leaked, workflow.time(), after=self._regeneration_id)
        self._regeneration_id = await workflow.execute_activity(activities.open_regeneration, order, **PATIENTLY)
        self.board.show(keys=f"Regeneration {self._regeneration_id} is on its way.")
        await self._note("regenerating", key=self._regeneration_id, state=CaseState.REGENERATING)
        await workflow.wait_condition(lambda: self._regeneration_id in self._endings)
        match Ending(self._endings[self._regeneration_id]):
            case Ending.DONE:
                await self._close(Resolution.REGENERATED)
            case Ending.SUPERSEDED:
                await self._go_on_with_the_later_one()
            case Ending.ABANDONED:
                await self._ask_again()
            case unknown:
                assert_never(unknown)

    async def _go_on_with_the_later_one(self) -> None:
        """Note it. Two cases that go on superseding each other must not do so for ever."""
        self._superseded += 1
        await self._note("superseded", key=self._regeneration_id)
        if self._superseded > _MOST_SUPERSEDED:
            await self._close(Resolution.REGENERATED)

    async def _ask_again(self) -> None:
        """Call staff, unless a new answer stands already; the question is open since the abandonment was told."""
        if self._question.settled():
            await self._note("regeneration_abandoned", key=self._regeneration_id)
        else:
            await self._call_staff("regeneration_abandoned", "Please decide again.", key=self._regeneration_id)

    async def _close(self, resolution: Resolution) -> None:
        """Close the case, unless SQL holds an answer that silence would pass over: then act on that."""
        order = CloseOrder(self._id, resolution, workflow.time())
        standing = await workflow.execute_activity(activities.close_incident, order, **PATIENTLY)
        if standing is None:
            self._state, self._question.resolution = CaseState.CLOSED, resolution
            self.board.show(_HEADLINE[self._state], end=f"Closed as {resolution}.", how="", staff="")
        else:
            self._question.let_stand(Answer.of(standing))

    # Who is heard

    @workflow.signal
    @guarded
    async def customer_answered(self, answer: CustomerAnswer) -> None:
        """Act on the customer's answer: SQL holds it, so it stands.

        One that is told while an answer stands is a repeat, and changes nothing: the outbox tells in order, so a new
        answer comes after the abandonment that reopened the question.
        """
        if not self._question.settled():
            self._question.let_stand(Answer(answer.choice, answer.leaked, answer.by))

    @workflow.update
    async def decide(self, said: Any) -> DecisionReport:
        """Take a `StaffDecision`, read by hand so that a mistyped field is refused and not ignored.

        Fails as "Invalid" or "TooLate", with the answer that stands. A repeat of `decision_id` gets the same
        report again.
        """
        return await self._question.decide(identified(decision_in(said)))

    @decide.validator
    def _refuse(self, said: Any) -> None:
        self._question.refuse_if_late(decision_in(said))

    @workflow.signal(dynamic=True, description=HOW_TO_DECIDE)
    async def hear(self, name: str, said: Sequence[RawValue]) -> None:
        """Take `staff_decision`, the signal that people type into the Web UI.

        Dynamic, so that a misspelled name, no content or any content arrives here: what can't be taken is
        answered in the timeline and the details, never dropped and never fatal.
        """
        decision: StaffDecision | None = None
        try:
            decision = identified(decision_signalled(name, said))
            await self._question.decide(decision)
        except FailureError as error:
            self.board.show(signal=f"A signal was refused: {error.message}.")
            await self._note_refused(decision, error.message)

    @workflow.signal
    @guarded
    async def attempts_grew(self, growth: Growth) -> None:
        """Show that the attack goes on; told at doublings only."""
        self.board.show(failures=f"{growth.failures} failed attempts in a row so far.")
        await self._note("attempts_grew", key=str(growth.failures), detail={"failures": growth.failures})

    @workflow.signal
    @guarded
    async def regeneration_finished(self, end: RegenerationEnd) -> None:
        """Remember the ending; it may be told before `open_regeneration` has returned the id.

        With an abandonment SQL has reopened the question, so it is open here from the first word of it: the next
        message may be the new answer. A repeat changes nothing, for it may come after that answer.
        """
        if end.regeneration_id in self._endings:
            return
        self._endings[end.regeneration_id] = end.state
        if end.state == Ending.ABANDONED:
            self.board.show(keys=f"Regeneration {end.regeneration_id} was abandoned.")
            self._question.reopen()

    @workflow.query
    def status(self) -> IncidentStatus:
        """Tell where the case stands."""
        answer = self._question.answer
        if answer is None:
            return IncidentStatus(self._state, None, None)
        return IncidentStatus(self._state, answer.choice, answer.by)

    # How it is done

    async def _settled_by(self, after: float, waiting_for: str) -> bool:
        return await came_true(self._question.settled, by=self._due(after), waiting_for=waiting_for)

    def _due(self, after: float) -> float:
        return (self._case.past.began or workflow.info().workflow_start_time.timestamp()) + after

    async def _write(self, kind: MailKind, number: int) -> None:
        await self._mail(MailOrder(self._id, kind, number, workflow.time()), stop=self._question.settled)

    async def _call_staff(self, what: str, remark: str, *, key: str = "") -> None:
        self.board.show(staff=remark)
        await self._note(what, key=key, state=CaseState.NEEDS_STAFF)

    async def _note_refused(self, decision: StaffDecision | None, why: str) -> None:
        """Audit a refused signal: who, what and why, as far as it could be read.

        The key is the one that `take_decision` uses, so a refusal by SQL is noted once.
        """
        if decision is None:
            self._refusals += 1
            await self._note("decision_refused", key=str(self._refusals), detail={"why": why})
            return
        detail: Detail = {"decision": decision.decision, "reason": decision.reason, "why": why}
        note = IncidentNote(
            self._id,
            f"refused-{decision.decision_id}",
            "decision_refused",
            workflow.time(),
            actor=decision.actor,
            detail=detail,
        )
        await workflow.execute_activity(activities.note_incident, note, **PATIENTLY)

    async def _note(
        self, what: str, *, key: str = "", state: CaseState | None = None, detail: Detail | None = None
    ) -> None:
        """Write one event into the timeline, with the state when it changes."""
        self._state = state or self._state
        self.board.show(_HEADLINE[self._state])
        name = f"{what}-{key}" if key else what
        note = IncidentNote(self._id, name, what, workflow.time(), state=state, detail=detail or {})
        await workflow.execute_activity(activities.note_incident, note, **PATIENTLY)
