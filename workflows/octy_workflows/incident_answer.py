"""The answer of an incident: was it the customer's own doing? It is given by the customer, by staff, or by a timeout.

The database decides which answer came first; this module holds what it said last.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.activity_calls import ActivityCaller
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import (
        DecisionResult,
        IncidentFacts,
        RecordDecisionInput,
        Resolution,
        StaffAction,
    )
    from octy_workflows.order_content import Choice
    from octy_workflows.staff_input import HOW_TO_DECIDE, HOW_TO_EXTEND, TOO_LATE, StaffOrders, refusal


@dataclass(frozen=True)
class IncidentAnswer:
    """The current answer, as the database has it."""

    choice: Choice
    leaked: bool
    answered_by: str

    @classmethod
    def of(cls, result: DecisionResult) -> "IncidentAnswer":
        """Return the answer that is current according to a result."""
        return cls(result.current_choice, result.current_leaked, result.answered_by)

    def __str__(self) -> str:
        leaked = ", secret leaked" if self.leaked else ""
        return f"{self.choice}{leaked}, decided by {self.answered_by}"


class AnswerTracker:
    """Keeps the current answer of one incident, shows it to staff, and takes decisions one at a time.

    `reload` loads the facts from the database again.
    """

    def __init__(
        self,
        incident_id: str,
        current_details: CurrentDetails,
        staff_orders: StaffOrders,
        reload: Callable[[], Awaitable[None]],
        caller: ActivityCaller,
    ) -> None:
        self.current: IncidentAnswer | None = None
        self.resolution: Resolution | None = None  # of the incident, when it is closed
        self.lock = asyncio.Lock()  # held while a decision is recorded, or the incident is closed without an answer
        self._incident_id = incident_id
        self._current_details = current_details
        self._staff_orders = staff_orders
        self._reload = reload
        self._caller = caller
        self._results: dict[str, DecisionResult] = {}  # by order id

    def settled(self) -> bool:
        """Return whether no answer is waited for."""
        return self.current is not None or self.resolution is not None

    def update(self, facts: IncidentFacts) -> None:
        """Take over the answer in the database; None reopens the incident."""
        current = None if facts.choice is None else IncidentAnswer(facts.choice, facts.leaked, facts.answered_by)
        if current == self.current:
            return
        self.current = current
        if current is None:
            self._current_details.update(answer="", decide=HOW_TO_DECIDE, extend=HOW_TO_EXTEND)
        else:
            self._current_details.update(answer=f"Answer: {current}.", decide="", extend="", staff="")

    def is_dismissal(self) -> bool:
        """Return whether the current answer is that no new keys are needed."""
        return self.current is not None and self.current.choice == Choice.DISMISS

    async def decide(self, order_id: str, *, signalled: bool = False, error: str = "") -> DecisionResult:
        """Take one decision at a time; refuse it as too late when there is an answer.

        A repeated update gets the same result again. A repeated signal is refused as used: no caller waits for it.
        """
        async with self.lock:
            result = None if signalled else self._results.get(order_id)
            result = result or await self._record_order(order_id, error)
        if not result.accepted:
            why = result.reason or f"too late, there is an earlier answer: {IncidentAnswer.of(result)}"
            raise refusal(why, TOO_LATE)
        return result

    async def _record_order(self, order_id: str, error: str) -> DecisionResult:
        order = await self._staff_orders.use(order_id, StaffAction.DECIDE, error)
        if self.settled():  # as far as is known here; the database may have reopened it
            await self._reload()
        self.check_open()
        self._results[order.order_id] = await self.record(order.order_id, f"ordered by {order.actor}")
        return self._results[order.order_id]

    async def record(self, order_id: str, summary: str) -> DecisionResult:
        """Let the database decide about a staff order, or (with an empty id) about a timeout; then load the facts."""
        step = RecordDecisionInput(self._incident_id, order_id, workflow.time())
        result = await self._caller.execute(activities.record_decision, step, summary)
        await self._reload()
        return result

    def check_update(self, order_id: str) -> None:
        """Raise a refusal when no answer is waited for, unless this order is a repeat."""
        if order_id not in self._results:
            self.check_open()

    def check_open(self) -> None:
        """Raise a refusal when no answer is waited for."""
        if self.resolution is not None:
            answer = self.current or "no answer"
            raise refusal(f"too late, the incident is closed as {self.resolution}: {answer}", TOO_LATE)
        if self.current is not None:
            raise refusal(f"too late, there is an answer: {self.current}", TOO_LATE)
