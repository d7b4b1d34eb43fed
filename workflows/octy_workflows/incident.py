"""KeyIncidentWorkflow: alert → wait for the customer or staff → regenerate or close.

Here: when what happens in a case, and who is heard. Not here: which answer stands, which is `question`; deadlines,
mails, new keys, and where the case stands, which have rooms of their own: `deadlines`, `letters`, `replacing`,
`standing`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from octy_workflows.board import Board
    from octy_workflows.deadlines import Deadlines
    from octy_workflows.hearing import (
        HOW_TO_DECIDE,
        HOW_TO_WAIT,
        decision_in,
        extension_in,
        guarded,
        identified,
        resend_in,
        signalled,
    )
    from octy_workflows.letters import Letters
    from octy_workflows.messages import (
        CaseState,
        ChangedAnswer,
        CustomerAnswer,
        DecisionReport,
        Detail,
        Extended,
        Growth,
        IncidentCase,
        IncidentStatus,
        RegenerationEnd,
        Resent,
        Resolution,
    )
    from octy_workflows.question import Answer, Question
    from octy_workflows.replacing import Replacement
    from octy_workflows.searching import Index
    from octy_workflows.staff import Choice, StaffDecision, StaffExtension, StaffRequest, StaffResend
    from octy_workflows.standing import Standing

_NO_ANSWER = "no_answer"


@workflow.defn
class KeyIncidentWorkflow:
    """One case, from the twentieth failure to its end. Returns its resolution."""

    @workflow.init
    def __init__(self, case: IncidentCase) -> None:
        self._case = case
        self._id = case.incident_id
        self._start = case.past.began or workflow.info().workflow_start_time.timestamp()
        self.board = Board(f"Case {case.incident_id}")
        self._index = Index(off=not case.searchable)
        self._question = Question(case.incident_id, self.board, leaked=case.past.leaked)
        self._standing = Standing(case.incident_id, self.board, self._index)
        self._deadlines = Deadlines(case.times, self._start, case.extended)
        self._letters = Letters(case, self._question, self._standing, self.board)
        self._replacement = Replacement(case, self._question, self._standing, self.board)

    # The story of a case

    @workflow.run
    async def run(self, _case: IncidentCase) -> Resolution:
        """Ask, act on the answer as long as it stands, and ask again when the new keys could not be delivered."""
        self.board.show(how=HOW_TO_DECIDE, wait=HOW_TO_WAIT)
        self._index.count(self._case.failures)
        await self._standing.note("opened", state=CaseState.WAITING)
        await self._ask()
        while self._question.resolution is None:
            await workflow.wait_condition(lambda: self._question.answer is not None)
            await self._act_on_answer()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._question.resolution

    async def _ask(self) -> None:
        """Write to the customer and watch the calendar, side by side, until the case is settled."""
        await asyncio.gather(self._letters.write(self._start), self._watch_calendar())
        self._deadlines.over = True

    async def _watch_calendar(self) -> None:
        """Tell staff of the silence, then end it. An extension moves both: staff is told again before a later end."""
        deadlines, settled = self._deadlines, self._question.settled
        while await deadlines.pass_(lambda: deadlines.staff_at, settled, "the staff task"):
            extended = len(deadlines.extensions)

            def settled_or_extended(extended: int = extended) -> bool:
                return settled() or len(deadlines.extensions) > extended

            await self._standing.call_staff(
                _NO_ANSWER,
                "The customer has not answered. Please reach them another way.",
                key=f"{deadlines.staff_at:.0f}" if deadlines.moved else "",
            )
            if await deadlines.pass_(lambda: deadlines.close_at, settled_or_extended, "the end of the case"):
                await self._end_silence()

    async def _end_silence(self) -> None:
        """Close, or regenerate where that is configured. SQL tells whether the customer just answered."""
        async with self._question.deciding:
            if self._question.answer is not None or self._deadlines.close_at > workflow.time():
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
                if await self._replacement.deliver(leaked=answer.leaked):
                    await self._close(Resolution.REGENERATED)
            case Choice.DISMISS:
                await self._close(Resolution.FALSE_ALARM)
            case unknown:
                assert_never(unknown)

    async def _close(self, resolution: Resolution) -> None:
        """Close the case, unless SQL holds an answer that this would pass over: then act on that."""
        standing = await self._standing.close(resolution)
        if standing is None:
            self._question.resolution = resolution
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

    @workflow.signal
    @guarded
    async def answer_changed(self, change: ChangedAnswer) -> None:
        """Act on what support staff has made of the answer: SQL holds it, so it stands."""
        self._question.change(Answer(change.choice, change.leaked, change.by), change.change_id)

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

    @workflow.update
    async def extend(self, said: Any) -> Extended:
        """Take a `StaffExtension`: the case ends later. Fails as "Invalid" or "TooLate"; a repeat moves nothing."""
        return await self._extend(identified(extension_in(said)))

    @extend.validator
    def _refuse_extension(self, said: Any) -> None:
        self._refuse_late_extension(extension_in(said))

    @workflow.update
    async def resend(self, said: Any) -> Resent:
        """Take a `StaffResend`: a mail goes out again. Answers when it has left, or why it has not.

        Fails as "Invalid", "TooEarly" or "TooLate"; a repeat of `request_id` sends nothing.
        """
        return await self._letters.send_again(identified(resend_in(said)))

    @resend.validator
    def _refuse_resend(self, said: Any) -> None:
        self._letters.refuse(resend_in(said))

    @workflow.signal(dynamic=True, description=HOW_TO_DECIDE)
    async def hear(self, name: str, said: Sequence[RawValue]) -> None:
        """Take what people type into the Web UI: `staff_decision`, `staff_extension` or `staff_resend`.

        Dynamic, so that a misspelled name, no content or any content arrives here: what can't be taken is
        answered in the timeline and the details, never dropped and never fatal.
        """
        asked: StaffRequest | None = None
        try:
            asked = identified(signalled(name, said))
            await self._take(asked)
        except FailureError as error:
            self.board.show(signal=f"A signal was refused: {error.message}.")
            await self._standing.note_refused(asked, error.message)

    @workflow.signal
    @guarded
    async def attempts_grew(self, growth: Growth) -> None:
        """Show that the attack goes on; told at doublings only."""
        self.board.show(failures=f"{growth.failures} failed attempts in a row so far.")
        self._index.count(growth.failures)
        await self._standing.note("attempts_grew", key=str(growth.failures), detail={"failures": growth.failures})

    @workflow.signal
    @guarded
    async def regeneration_finished(self, end: RegenerationEnd) -> None:
        """Remember how it ended, and that the question is open again when that was in vain."""
        self._replacement.heard_of(end)

    @workflow.query
    def status(self) -> IncidentStatus:
        """Tell where the case stands."""
        answer = self._question.answer
        if answer is None:
            return IncidentStatus(self._standing.state, None, None)
        return IncidentStatus(self._standing.state, answer.choice, answer.by)

    # How it is done

    async def _take(self, asked: StaffRequest) -> None:
        match asked:
            case StaffDecision():
                await self._question.decide(asked)
            case StaffExtension():
                await self._extend(asked)
            case StaffResend():
                await self._letters.send_again(asked)
            case unknown:
                assert_never(unknown)

    def _refuse_late_extension(self, said: StaffExtension) -> None:
        if said.request_id not in self._deadlines.extensions:
            self._question.refuse_if_settled()
            self._deadlines.refuse(said)

    async def _extend(self, said: StaffExtension) -> Extended:
        """Move the deadlines, unless the silence is being ended this very moment; staff waits with the customer."""
        async with self._question.deciding:
            self._refuse_late_extension(said)
            if said.request_id in self._deadlines.extensions:
                return self._deadlines.extensions[said.request_id]
            extended = self._deadlines.extend(said)
            ends: Detail = {"staff_at": int(extended.staff_at), "ends_at": int(extended.close_at)}
            detail: Detail = {"days": said.days, **ends, "reason": said.reason}
            state = self._standing.over(_NO_ANSWER)
            await self._standing.note("extended", key=said.request_id, state=state, actor=said.actor, detail=detail)
            return extended
