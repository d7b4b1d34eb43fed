"""KeyIncidentWorkflow: alert → wait for the customer or staff → regenerate or close.

Here: when what happens in a case, and who is heard. Not here: which answer stands, which is `incident_answer`; deadlines,
mails, new keys, and where the case stands, which have rooms of their own: `deadlines`, `incident_mails`, `incident_regenerations`,
`incident_status`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, assert_never

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.deadlines import IncidentDeadlines
    from octy_workflows.incident_answer import AnswerTracker
    from octy_workflows.incident_mails import IncidentMails
    from octy_workflows.incident_regenerations import IncidentRegenerations
    from octy_workflows.incident_status import IncidentStatus
    from octy_workflows.messages import (
        DecisionResult,
        EventDetail,
        ExtendedDeadlines,
        IncidentInput,
        IncidentState,
        LoadFactsInput,
        RefusalReason,
        ResendResult,
        Resolution,
        Signal,
        StaffAction,
        StatusResult,
        WorkflowKind,
    )
    from octy_workflows.search_attributes import SearchAttributes
    from octy_workflows.signals import FactsLoader, IgnoredSignals
    from octy_workflows.staff_input import (
        HOW_TO_DECIDE,
        HOW_TO_WAIT,
        REQUEST_REFUSED,
        STAFF_SIGNALS,
        StaffRequests,
        request_id_in_signal,
        request_id_in_update,
    )
    from octy_workflows.staff_requests import Choice, StaffExtension

_SIGNALS = frozenset(
    {Signal.CUSTOMER_ANSWERED, Signal.ANSWER_CHANGED, Signal.ATTEMPTS_GREW, Signal.REGENERATION_FINISHED}
)
_NO_ANSWER = "no_answer"


@workflow.defn
class KeyIncidentWorkflow:
    """One case, from the twentieth failure to its end. Returns its resolution."""

    @workflow.init
    def __init__(self, case: IncidentInput) -> None:
        self._case = case
        self._id = case.incident_id
        self._start = case.past.began or workflow.info().workflow_start_time.timestamp()
        self.board = CurrentDetails(f"Case {case.incident_id}")
        self._index = SearchAttributes(off=not case.searchable)
        self._looks = FactsLoader(self._look)
        self._failures = case.failures  # as last noted
        self._counted = 0  # as SQL said when it was looked at last
        self._backed: list[str] = []  # signals for which SQL has a row, when it was looked at last
        self._ignored = IgnoredSignals(WorkflowKind.INCIDENT, case.incident_id)
        self._orders = StaffRequests(WorkflowKind.INCIDENT, case.incident_id)
        self._standing = IncidentStatus(case.incident_id, self.board, self._index)
        self.asking = self._standing.asking
        self._question = AnswerTracker(case.incident_id, self.board, self._orders, self._looks.again, self.asking)
        self._deadlines = IncidentDeadlines(case.times, self._start, case.extended)
        self._letters = IncidentMails(case, self._question, self._standing, self.board, self._orders)
        self._replacement = IncidentRegenerations(case, self._question, self._standing, self.board, self._looks.again)

    # The story of a case

    @workflow.run
    async def run(self, _case: IncidentInput) -> Resolution:
        """Ask, act on the answer as long as it stands, and ask again when the new keys could not be delivered."""
        self.board.show(how=HOW_TO_DECIDE, wait=HOW_TO_WAIT)
        self._index.count(self._case.failures)
        noting = asyncio.create_task(
            self._standing.note("opened", state=IncidentState.WAITING)
        )  # no alert waits for it
        await self._looks.caught_up()  # nobody is alerted who has answered
        await self._ask()
        await noting
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
            await self._question.take("", "nobody answered in time")

    async def _act_on_answer(self) -> None:
        answer = self._question.answer
        assert answer is not None
        match answer.choice:
            case Choice.REGENERATE:
                if await self._replacement.deliver():
                    await self._close(Resolution.REGENERATED)
            case Choice.DISMISS:
                await self._close(Resolution.FALSE_ALARM)
            case unknown:
                assert_never(unknown)

    async def _close(self, resolution: Resolution) -> None:
        """Close the case, unless SQL denies what that rests on: then look again, and act on what is found."""
        if await self._standing.close(resolution):
            self._question.resolution = resolution
        else:
            await self._looks.again()

    # Who is heard

    @workflow.update
    async def decide(self, said: Any) -> DecisionResult:
        """Take the order of this id. Fails as "Invalid", "OrderRefused" or "TooLate", with the answer that stands.

        A repeat of the order's id gets the same report again.
        """
        return await self._question.decide(request_id_in_update(said))

    @decide.validator
    def _refuse(self, said: Any) -> None:
        self._question.refuse_if_late(request_id_in_update(said))

    @workflow.update
    async def extend(self, said: Any) -> ExtendedDeadlines:
        """Take the order of this id: the case ends later. Fails as `decide`; a repeat moves nothing."""
        return await self._extend(request_id_in_update(said))

    @extend.validator
    def _refuse_extension(self, said: Any) -> None:
        if request_id_in_update(said) not in self._deadlines.extensions:
            self._refuse_late_extension()

    @workflow.update
    async def resend(self, said: Any) -> ResendResult:
        """Take the order of this id: a mail goes out again. Answers when it has left, or why it has not.

        Fails as `decide`, or as "TooEarly"; a repeat sends nothing.
        """
        return await self._letters.send_again(request_id_in_update(said))

    @resend.validator
    def _refuse_resend(self, said: Any) -> None:
        self._letters.refuse(request_id_in_update(said))

    @workflow.signal(dynamic=True, description=HOW_TO_DECIDE)
    async def hear(self, name: str, said: Sequence[RawValue]) -> None:
        """LoadFactsInput at SQL, or take the order whose id people typed into the Web UI.

        Dynamic, so that every signal arrives here whatever its name and content. None of them says what is so: one
        that no row backs is noted and counted, and changes nothing.
        """
        if name in _SIGNALS:
            await self._looks.again()
            if name not in self._backed:
                await self._ignored.note(name, RefusalReason.NO_ROW)
            await self._note_growth()
        elif name in STAFF_SIGNALS:
            await self._hear_staff(STAFF_SIGNALS[name], said)
        else:
            self.board.show(signal=f"A signal was ignored; those of support staff are {', '.join(STAFF_SIGNALS)}.")
            await self._ignored.note(name, RefusalReason.UNKNOWN_NAME)

    @workflow.query
    def status(self) -> StatusResult:
        """Tell where the case stands."""
        answer = self._question.answer
        if answer is None:
            return StatusResult(self._standing.state, None, None)
        return StatusResult(self._standing.state, answer.choice, answer.by)

    # How it is done

    async def _look(self) -> None:
        """Read what SQL says, and go by it."""
        look = LoadFactsInput(self._id, workflow.time())
        facts = await self.asking.ask(activities.look_at_incident, look, "facts")
        self._backed = facts.backed
        self._replacement.learn(facts)
        self._question.learn(facts)
        self._counted = facts.failures if Signal.ATTEMPTS_GREW in facts.backed else 0

    async def _note_growth(self) -> None:
        """Show that the attack goes on; told at doublings only."""
        failures = self._counted
        if failures <= self._failures:
            return
        self._failures = failures
        self.board.show(failures=f"{failures} failed attempts in a row so far.")
        self._index.count(failures)
        await self._standing.note("attempts_grew", key=str(failures), detail={"failures": failures})

    async def _hear_staff(self, action: StaffAction, said: Sequence[RawValue]) -> None:
        order_id, why = request_id_in_signal(said)
        try:
            await self._carry_out(action, order_id, why)
        except FailureError as error:
            self.board.show(signal=f"A signal was refused: {error.message}.")
            loaded = self._orders.used.get(order_id)
            if loaded is not None and not (isinstance(error, ApplicationError) and error.type == REQUEST_REFUSED):
                await self._standing.note_refused(loaded, error.message)

    async def _carry_out(self, action: StaffAction, order_id: str, why: str) -> None:
        match action:
            case StaffAction.DECIDE:
                await self._question.decide(order_id, signalled=True, why=why)
            case StaffAction.EXTEND:
                await self._extend(order_id, signalled=True, why=why)
            case StaffAction.RESEND | StaffAction.RESEND_KEYS:
                await self._letters.send_again(order_id, signalled=True, why=why)
            case unknown:
                assert_never(unknown)

    def _refuse_late_extension(self, days: int = 0) -> None:
        self._question.refuse_if_settled()
        self._deadlines.refuse(days)

    async def _extend(self, order_id: str, *, signalled: bool = False, why: str = "") -> ExtendedDeadlines:
        """Move the deadlines, unless the silence is being ended this very moment; staff waits with the customer."""
        async with self._question.deciding:
            if not signalled and order_id in self._deadlines.extensions:
                return self._deadlines.extensions[order_id]
            said = await self._orders.use(order_id, StaffAction.EXTEND, why)
            assert isinstance(said, StaffExtension)
            self._refuse_late_extension(said.days)
            extended = self._deadlines.extend(said)
            ends: EventDetail = {"staff_at": int(extended.staff_at), "ends_at": int(extended.close_at)}
            detail: EventDetail = {"days": said.days, **ends, "reason": said.reason}
            state = self._standing.over(_NO_ANSWER)
            await self._standing.note("extended", key=said.request_id, state=state, actor=said.actor, detail=detail)
            return extended
