"""The question of a case: "was it you?", answered once, by the customer, by staff or by silence.

Here: the answer that stands, staff decisions one at a time, what comes too late, and what staff makes of an answer.
Not here: who was first, which SQL decides; what follows from the answer, which is `incident`; what people type, which
is `staff_input`, and what it ordered, which is `orders`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.activity_calls import ActivityCaller
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import DecisionResult, IncidentFacts, RecordDecisionInput, Resolution, StaffAction
    from octy_workflows.staff_input import HOW_TO_DECIDE, HOW_TO_WAIT, TOO_LATE, StaffRequests, refusal
    from octy_workflows.staff_requests import Choice


@dataclass(frozen=True)
class IncidentAnswer:
    """The answer that stands, as SQL holds it."""

    choice: Choice
    leaked: bool
    by: str

    @classmethod
    def of(cls, report: DecisionResult) -> "IncidentAnswer":
        """Return the answer that stands according to a report."""
        return cls(report.standing_choice, report.standing_leaked, report.answered_by)

    def __str__(self) -> str:
        leaked = ", the secret leaked" if self.leaked else ""
        return f"{self.choice}{leaked}, decided by {self.by}"


class AnswerTracker:
    """One case's question; support staff sees on the board what stands, or how to decide.

    The answer is what SQL said when it was looked at last, and nothing else: `look` looks again.
    """

    def __init__(
        self,
        incident_id: str,
        board: CurrentDetails,
        orders: StaffRequests,
        look: Callable[[], Awaitable[None]],
        asking: ActivityCaller,
    ) -> None:
        self.answer: IncidentAnswer | None = None
        self.resolution: Resolution | None = None  # of the case, once it is closed
        self.deciding = asyncio.Lock()  # held by whoever asks SQL to take a decision, or to close on silence
        self._incident_id = incident_id
        self._board = board
        self._orders = orders
        self._look = look
        self._asking = asking
        self._reports: dict[str, DecisionResult] = {}  # by order id

    def settled(self) -> bool:
        """Tell whether no answer is waited for."""
        return self.answer is not None or self.resolution is not None

    def learn(self, facts: IncidentFacts) -> None:
        """Take the answer that SQL holds, or that it holds none any more: the next one is a new one."""
        answer = None if facts.choice is None else IncidentAnswer(facts.choice, facts.leaked, facts.by)
        if answer == self.answer:
            return
        self.answer = answer
        if answer is None:
            self._board.show(answer="", how=HOW_TO_DECIDE, wait=HOW_TO_WAIT)
        else:
            self._board.show(answer=f"Answer: {answer}.", how="", wait="", staff="")

    def wants_no_keys(self) -> bool:
        """Tell whether an answer stands that wants no new keys."""
        return self.answer is not None and self.answer.choice == Choice.DISMISS

    async def decide(self, order_id: str, *, signalled: bool = False, why: str = "") -> DecisionResult:
        """Decide one at a time: a decision that stands makes the next one come too late, which is refused.

        A repeated update gets its report again; a repeated signal is refused as used, for nobody waits for its answer.
        """
        async with self.deciding:
            report = None if signalled else self._reports.get(order_id)
            report = report or await self._take_ordered(order_id, why)
        if not report.accepted:
            raise refusal(report.why or f"too late, somebody was faster: {IncidentAnswer.of(report)}", TOO_LATE)
        return report

    async def _take_ordered(self, order_id: str, why: str) -> DecisionResult:
        request = await self._orders.use(order_id, StaffAction.DECIDE, why)
        if self.settled():  # as far as is known here; SQL may have reopened the question
            await self._look()
        self.refuse_if_settled()
        self._reports[request.id] = await self.take(request.id, f"as ordered by {request.actor}")
        return self._reports[request.id]

    async def take(self, order_id: str, summary: str) -> DecisionResult:
        """Let SQL decide, for an order or (without one) for silence. What stands there afterwards is acted on."""
        order = RecordDecisionInput(self._incident_id, order_id, workflow.time())
        report = await self._asking.ask(activities.take_decision, order, summary)
        await self._look()
        return report

    def refuse_if_late(self, order_id: str) -> None:
        """Raise a refusal when nobody's answer is waited for. A repeat is no late decision."""
        if order_id not in self._reports:
            self.refuse_if_settled()

    def refuse_if_settled(self) -> None:
        """Raise a refusal when nobody's answer is waited for."""
        if self.resolution is not None:
            by = self.answer or "nobody answered"
            raise refusal(f"too late, the case is closed as {self.resolution}: {by}", TOO_LATE)
        if self.answer is not None:
            raise refusal(f"too late, an answer stands: {self.answer}", TOO_LATE)
