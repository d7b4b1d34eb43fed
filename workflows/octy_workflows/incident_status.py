"""Where a case stands: in SQL, on the board, and in Temporal's search.

Here: the state, what support staff is needed for and when that is over, and the timeline. Not here: what follows from
it, which is `incident`.
"""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.activity_calls import ActivityCaller
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import (
        CloseIncidentInput,
        EventDetail,
        IncidentState,
        RecordIncidentEventInput,
        Resolution,
        WorkflowKind,
    )
    from octy_workflows.search_attributes import SearchAttributes
    from octy_workflows.staff_requests import StaffRequest

_SYSTEM = "system"
_HEADLINE = {
    IncidentState.OPENING: "The case is being opened",
    IncidentState.WAITING: "Waiting for the customer's answer",
    IncidentState.REGENERATING: "New keys are on their way to the customer",
    IncidentState.NEEDS_STAFF: "Support staff is needed",
    IncidentState.CLOSED: "Closed",
}


class IncidentStatus:
    """One case's state and timeline. Events are written one after the other: what SQL holds last came last."""

    def __init__(self, incident_id: str, board: CurrentDetails, index: SearchAttributes) -> None:
        self.state = IncidentState.OPENING
        self._id = incident_id
        self._board = board
        self._index = index
        self.asking = ActivityCaller(WorkflowKind.INCIDENT, incident_id, board, lambda: self.state, self._show_need)
        self._needed_for: list[str] = []  # causes for which support staff was called, and which are not over
        self._writing = asyncio.Lock()

    async def note(
        self,
        what: str,
        *,
        key: str = "",
        state: IncidentState | None = None,
        actor: str = _SYSTEM,
        detail: EventDetail | None = None,
    ) -> None:
        """Write one event into the timeline, with the state when it changes: nothing staff was called for outlasts it.

        `key` tells several events of one name apart.
        """
        if state is not None:
            self._needed_for.clear()
        await self._write(what, key, state, actor, detail)

    async def call_staff(self, what: str, remark: str, *, key: str = "") -> None:
        """Raise a staff task for a cause, which has the event's name."""
        if what not in self._needed_for:
            self._needed_for.append(what)
        self._board.show(staff=remark)
        await self._write(what, key, IncidentState.NEEDS_STAFF, _SYSTEM, None)

    async def relieve(self, cause: str, because: str) -> None:
        """Take a staff task back whose cause is over; the case waits again when it was the last one."""
        if self.over(cause) is None:
            return
        await self.note(
            "staff_not_needed", key=f"{workflow.time():.3f}", state=IncidentState.WAITING, detail={"because": because}
        )

    def over(self, cause: str) -> IncidentState | None:
        """Strike out a cause; return the state that the case goes back to, or None when it stays where it is."""
        if cause not in self._needed_for:
            return None
        self._needed_for.remove(cause)
        if self._needed_for:
            return None
        self._board.show(staff="")
        return IncidentState.WAITING

    async def note_refused(self, said: StaffRequest, why: str) -> None:
        """Audit an order that was refused after it was loaded: who, what and why.

        The key is the one that SQL and the `octy` command use, so a refusal is noted once.
        """
        detail: EventDetail = {**said.facts(), "reason": said.reason, "why": why}
        note = RecordIncidentEventInput(
            self._id, f"refused-{said.id}", said.refused_as, workflow.time(), actor=said.actor, detail=detail
        )
        await self.asking.ask(activities.note_incident, note, said.refused_as)

    async def close(self, resolution: Resolution) -> bool:
        """Close the case, unless SQL says otherwise of its answer or its keys; tell whether it is closed."""
        order = CloseIncidentInput(self._id, resolution, workflow.time())
        closed = await self.asking.ask(activities.close_incident, order, f"as {resolution}")
        if closed:
            self.state = IncidentState.CLOSED
            self._index.show(self.state, needs_staff=False)
            self._board.show(_HEADLINE[self.state], end=f"Closed as {resolution}.", how="", wait="", staff="")
        return closed

    def _show_need(self, missing: bool) -> None:  # noqa: FBT001  # a callback
        self._index.show(self.state, needs_staff=missing or self.state == IncidentState.NEEDS_STAFF)

    async def _write(
        self, what: str, key: str, state: IncidentState | None, actor: str, detail: EventDetail | None
    ) -> None:
        self.state = state or self.state
        self._board.show(_HEADLINE[self.state])
        self._index.show(self.state, needs_staff=self.state == IncidentState.NEEDS_STAFF)
        name = f"{what}-{key}" if key else what
        note = RecordIncidentEventInput(
            self._id, name, what, workflow.time(), actor=actor, state=state, detail=detail or {}
        )
        async with self._writing:
            await self.asking.ask(activities.note_incident, note, what)
