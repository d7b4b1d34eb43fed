"""The new keys of a case: ordered, waited for, joined when a later order takes their place, called off.

Here: one case's regenerations, one after the other. Not here: what happens in one, which is `regeneration`; which
answer stands, which is `incident_answer`.
"""

from collections.abc import Awaitable, Callable
from typing import assert_never

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.incident_answer import AnswerTracker
    from octy_workflows.incident_status import IncidentStatus
    from octy_workflows.messages import (
        FINAL_REGENERATION_STATES,
        IncidentFacts,
        IncidentInput,
        IncidentState,
        OpenRegenerationInput,
        RegenerationFinalState,
    )

_MOST_SUPERSEDED = 3  # regenerations of one case that may be followed by a later one
_ABANDONED = "regeneration_abandoned"


class IncidentRegenerations:
    """One case's regenerations."""

    def __init__(
        self,
        case: IncidentInput,
        question: AnswerTracker,
        standing: IncidentStatus,
        board: CurrentDetails,
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._incident_id = case.incident_id
        self._question = question
        self._standing = standing
        self._board = board
        self._look = look
        self._newest = case.past.regeneration_id  # the id of the newest regeneration for this case
        self._endings: dict[str, str] = {}  # by regeneration id
        self._superseded = 0  # how many of them

    async def deliver(self) -> bool:
        """Have the keys replaced, and wait for the end of that, or until staff calls it off; tell whether it is done.

        A superseded regeneration has delivered nothing, and the answer still stands: it is to be acted on again, and
        SQL then names the later regeneration, which this case joins. So it is done only when new keys have been
        collected, or after one supersession too many.
        """
        opened = await self._order()
        if not opened:  # SQL holds no answer that wants new keys any more
            await self._look()
            return False
        self._newest = opened
        self._board.show(keys=f"Regeneration {opened} is on its way.")
        await self._standing.note("regenerating", key=opened, state=IncidentState.REGENERATING)
        await workflow.wait_condition(lambda: opened in self._endings or self._question.wants_no_keys())
        if opened not in self._endings:
            self._board.show(keys=f"Regeneration {opened} is not waited for any more.")
            return False
        match RegenerationFinalState(self._endings[opened]):
            case RegenerationFinalState.DONE:
                return True
            case RegenerationFinalState.SUPERSEDED:
                return await self._is_last_to_be_superseded()
            case RegenerationFinalState.ABANDONED:
                await self._ask_again()
                return False
            case unknown:
                assert_never(unknown)

    def learn(self, facts: IncidentFacts) -> None:
        """Remember an ending; SQL may tell it before the order's answer has brought the id."""
        regeneration_id, state = facts.regeneration_id, facts.regeneration_state
        if state not in FINAL_REGENERATION_STATES or regeneration_id in self._endings:
            return
        self._endings[regeneration_id] = state
        if state == RegenerationFinalState.ABANDONED:
            self._board.show(keys=f"Regeneration {regeneration_id} was abandoned.")

    async def _order(self) -> str:
        order = OpenRegenerationInput(self._incident_id, workflow.time(), after=self._newest)
        return await self._standing.asking.ask(activities.open_regeneration, order, "new keys")

    async def _is_last_to_be_superseded(self) -> bool:
        """Note it. Two cases that go on superseding each other must not do so for ever."""
        self._superseded += 1
        await self._standing.note("superseded", key=self._newest)
        return self._superseded > _MOST_SUPERSEDED and not self._question.wants_no_keys()

    async def _ask_again(self) -> None:
        """Call staff, unless a new answer stands already; the question is open since the abandonment was told."""
        if self._question.settled():
            await self._standing.note(_ABANDONED, key=self._newest)
        else:
            await self._standing.call_staff(_ABANDONED, "Please decide again.", key=self._newest)
