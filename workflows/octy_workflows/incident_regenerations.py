"""Regenerations of an incident's key pair, one after the other. A later one supersedes an earlier one."""

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

_MAX_SUPERSEDED = 3  # regenerations of one incident that may be followed by a later one
_ABANDONED = "regeneration_abandoned"


class IncidentRegenerations:
    """One incident's regenerations. `reload` loads the facts from the database again."""

    def __init__(
        self,
        incident: IncidentInput,
        answers: AnswerTracker,
        status: IncidentStatus,
        current_details: CurrentDetails,
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        self._incident_id = incident.incident_id
        self._answers = answers
        self._status = status
        self._current_details = current_details
        self._reload = reload
        self._newest = incident.restart.regeneration_id  # the id of this incident's newest regeneration
        self._final_states: dict[str, str] = {}  # by regeneration id
        self._superseded = 0  # how many of them

    async def regenerate(self) -> bool:
        """Open a regeneration, and wait for its end, or until staff dismisses the incident; return whether it is done.

        A superseded one has delivered nothing, and the answer is still current. So the caller calls this again, and the
        database then returns the later regeneration, which this incident joins. It is done only when new keys were
        collected, or after too many supersessions.
        """
        opened = await self._open()
        if not opened:  # the answer in the database does not ask for new keys any more
            await self._reload()
            return False
        self._newest = opened
        self._current_details.update(keys=f"Regeneration {opened} is in progress.")
        await self._status.record_event("regenerating", key=opened, state=IncidentState.REGENERATING)
        await workflow.wait_condition(lambda: opened in self._final_states or self._answers.is_dismissal())
        if opened not in self._final_states:
            self._current_details.update(keys=f"Regeneration {opened} is not waited for any more.")
            return False
        match RegenerationFinalState(self._final_states[opened]):
            case RegenerationFinalState.DONE:
                return True
            case RegenerationFinalState.SUPERSEDED:
                return await self._too_many_superseded()
            case RegenerationFinalState.ABANDONED:
                await self._reopen()
                return False
            case unknown:  # pragma: no cover - mypy shows that there is no other
                assert_never(unknown)

    def update(self, facts: IncidentFacts) -> None:
        """Keep the final state of a regeneration; it may arrive before `open_regeneration` has returned the id."""
        regeneration_id, state = facts.regeneration_id, facts.regeneration_state
        if state not in FINAL_REGENERATION_STATES or regeneration_id in self._final_states:
            return
        self._final_states[regeneration_id] = state
        if state == RegenerationFinalState.ABANDONED:
            self._current_details.update(keys=f"Regeneration {regeneration_id} was abandoned.")

    async def _open(self) -> str:
        step = OpenRegenerationInput(self._incident_id, workflow.time(), after=self._newest)
        return await self._status.caller.execute(activities.open_regeneration, step, "new keys")

    async def _too_many_superseded(self) -> bool:
        """Record the supersession. The limit stops two incidents that supersede each other in turn."""
        self._superseded += 1
        await self._status.record_event("superseded", key=self._newest)
        return self._superseded > _MAX_SUPERSEDED and not self._answers.is_dismissal()

    async def _reopen(self) -> None:
        """Notify staff, unless there is a new answer: the abandonment has reopened the incident."""
        if self._answers.settled():
            await self._status.record_event(_ABANDONED, key=self._newest)
        else:
            await self._status.notify_staff(_ABANDONED, "Please decide again.", key=self._newest)
