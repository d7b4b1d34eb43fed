"""The question of a case: "was it you?", answered once, by the customer, by staff or by silence.

Here: the answer that stands, staff decisions one at a time, what comes too late, and what staff makes of an answer.
Not here: who was first, which SQL decides; what follows from the answer, which is `incident`; what people type, which
is `hearing`.
"""

import asyncio
from dataclasses import dataclass

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.board import Board
    from octy_workflows.hearing import HOW_TO_DECIDE, INVALID, TOO_LATE, refusal
    from octy_workflows.messages import DecisionOrder, DecisionReport, Resolution
    from octy_workflows.policies import PATIENTLY
    from octy_workflows.staff import Choice, StaffDecision


@dataclass(frozen=True)
class Answer:
    """The answer that stands, as SQL holds it."""

    choice: Choice
    leaked: bool
    by: str

    @classmethod
    def of(cls, report: DecisionReport) -> "Answer":
        """Return the answer that stands according to a report."""
        return cls(report.standing_choice, report.standing_leaked, report.answered_by)

    def __str__(self) -> str:
        leaked = ", the secret leaked" if self.leaked else ""
        return f"{self.choice}{leaked}, decided by {self.by}"


class Question:
    """One case's question; support staff sees on the board what stands, or how to decide."""

    def __init__(self, incident_id: str, board: Board, *, leaked: bool = False) -> None:
        self.answer: Answer | None = None
        self.resolution: Resolution | None = None  # of the case, once it is closed
        self.deciding = asyncio.Lock()  # held by whoever asks SQL to take a decision, or to close on silence
        self._incident_id = incident_id
        self._board = board
        self._reports: dict[str, DecisionReport] = {}  # by decision id
        self._reopened = 0
        self._changes: list[str] = []  # ids of changes that staff has made to an answer
        self._leaked = leaked  # once reported, for the rest of the case

    def settled(self) -> bool:
        """Tell whether no answer is waited for."""
        return self.answer is not None or self.resolution is not None

    def let_stand(self, answer: Answer) -> None:
        """Take the answer that SQL holds."""
        self.answer = answer
        self._leaked = self._leaked or answer.leaked
        self._board.show(answer=f"Answer: {answer}.", how="", wait="", staff="")

    def change(self, answer: Answer, change_id: str) -> None:
        """Take what staff has made of the answer, once: a repeat may come after a later answer."""
        if change_id not in self._changes:
            self._changes.append(change_id)
            self.let_stand(answer)

    @property
    def changes(self) -> int:
        """How often staff has changed an answer."""
        return len(self._changes)

    def called_off(self) -> bool:
        """Tell whether an answer stands that wants no new keys."""
        return self.answer is not None and self.answer.choice == Choice.DISMISS

    def reopen(self) -> None:
        """Forget the answer, as SQL has done: the next one is a new one, whoever gives it."""
        self.answer = None
        self._reopened += 1
        self._board.show(answer="", how=HOW_TO_DECIDE)

    async def decide(self, decision: StaffDecision) -> DecisionReport:
        """Decide one at a time: a decision that stands makes the next one come too late, which is refused."""
        async with self.deciding:
            report = self._reports.get(decision.decision_id) or await self.take(decision)
        if not report.accepted:
            raise refusal(f"too late, somebody was faster: {Answer.of(report)}", TOO_LATE)
        return report

    async def take(self, decision: StaffDecision) -> DecisionReport:
        """Let SQL decide. What stands there afterwards is acted on, whoever said it."""
        self.refuse_if_late(decision)
        order = DecisionOrder(self._incident_id, decision, workflow.time())
        reopened, changes = self._reopened, self.changes
        report = await workflow.execute_activity(
            activities.take_decision, order, **PATIENTLY, summary=f"{decision.decision} by {decision.actor}"
        )
        self._reports[decision.decision_id] = report
        # It may speak of an answer that came to nothing, or that was changed before we heard of it.
        if changes == self.changes and (report.accepted or reopened == self._reopened):
            self.let_stand(Answer.of(report))
        return report

    def refuse_if_late(self, decision: StaffDecision) -> None:
        """Raise a refusal when an answer stands, the case is closed, or it would deny a reported leak.

        A repeat is no late decision.
        """
        if decision.decision_id in self._reports:
            return
        self.refuse_if_settled()
        if self._leaked and decision.decision == Choice.DISMISS:
            raise refusal("a case whose secret leaked can't be dismissed", INVALID)

    def refuse_if_settled(self) -> None:
        """Raise a refusal when nobody's answer is waited for."""
        if self.resolution is not None:
            by = self.answer or "nobody answered"
            raise refusal(f"too late, the case is closed as {self.resolution}: {by}", TOO_LATE)
        if self.answer is not None:
            raise refusal(f"too late, an answer stands: {self.answer}", TOO_LATE)
