"""State of an incident in the database, in the current details and in the search attributes, and its timeline."""

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
    from octy_workflows.order_content import OrderContent
    from octy_workflows.search_attributes import SearchAttributes

_SYSTEM = "system"
_HEADLINE = {
    IncidentState.OPENING: "The incident is being opened",
    IncidentState.WAITING: "Waiting for the customer's answer",
    IncidentState.REGENERATING: "Waiting for the customer to collect new keys",
    IncidentState.NEEDS_STAFF: "Support staff is needed",
    IncidentState.CLOSED: "Closed",
}


class IncidentStatus:
    """One incident's state and timeline. Events are written one after the other, so the last one is the newest."""

    def __init__(self, incident_id: str, current_details: CurrentDetails, search_attributes: SearchAttributes) -> None:
        self.state = IncidentState.OPENING
        self._id = incident_id
        self._current_details = current_details
        self._search_attributes = search_attributes
        self.caller = ActivityCaller(
            WorkflowKind.INCIDENT, incident_id, current_details, lambda: self.state, self._on_missing
        )
        self._staff_causes: list[str] = []  # events for which staff was notified, and which are not resolved
        self._lock = asyncio.Lock()

    async def record_event(
        self,
        event: str,
        *,
        key: str = "",
        state: IncidentState | None = None,
        actor: str = _SYSTEM,
        detail: EventDetail | None = None,
    ) -> None:
        """Add one event to the timeline. A new state resolves all staff tasks.

        `key` distinguishes several events of one name.
        """
        if state is not None:
            self._staff_causes.clear()
        await self._write(event, key, state, actor, detail)

    async def notify_staff(self, event: str, message: str, *, key: str = "") -> None:
        """Open a staff task; the event's name is its cause."""
        if event not in self._staff_causes:
            self._staff_causes.append(event)
        self._current_details.update(staff=message)
        await self._write(event, key, IncidentState.NEEDS_STAFF, _SYSTEM, None)

    async def resolve(self, cause: str, because: str) -> None:
        """Close a staff task; the incident waits again when it was the last one."""
        if self.state_without(cause) is None:
            return
        await self.record_event(
            "staff_not_needed", key=f"{workflow.time():.3f}", state=IncidentState.WAITING, detail={"because": because}
        )

    def state_without(self, cause: str) -> IncidentState | None:
        """Remove a cause; return the state to which the incident returns, or None when its state stays."""
        if cause not in self._staff_causes:
            return None
        self._staff_causes.remove(cause)
        if self._staff_causes:
            return None
        self._current_details.update(staff="")
        return IncidentState.WAITING

    async def record_refused(self, order: OrderContent, why: str) -> None:
        """Add a refused staff order to the timeline: who, what and why.

        The database code and the `octy` command use the same key, so a refusal is recorded once.
        """
        detail: EventDetail = {**order.event_detail(), "reason": order.reason, "why": why}
        step = RecordIncidentEventInput(
            self._id,
            f"refused-{order.order_id}",
            order.refused_event,
            workflow.time(),
            actor=order.actor,
            detail=detail,
        )
        await self.caller.execute(activities.record_incident_event, step, order.refused_event)

    async def close(self, resolution: Resolution) -> bool:
        """Close the incident, unless the database has another answer or its keys are pending; return whether it is."""
        step = CloseIncidentInput(self._id, resolution, workflow.time())
        closed = await self.caller.execute(activities.close_incident, step, f"as {resolution}")
        if closed:
            self.state = IncidentState.CLOSED
            self._search_attributes.set_state(self.state, needs_staff=False)
            self._current_details.update(
                _HEADLINE[self.state], end=f"Closed as {resolution}.", decide="", extend="", staff=""
            )
        return closed

    def _on_missing(self, missing: bool) -> None:  # noqa: FBT001  # a callback
        self._search_attributes.set_state(self.state, needs_staff=missing or self.state == IncidentState.NEEDS_STAFF)

    async def _write(
        self, event: str, key: str, state: IncidentState | None, actor: str, detail: EventDetail | None
    ) -> None:
        self.state = state or self.state
        self._current_details.update(_HEADLINE[self.state])
        self._search_attributes.set_state(self.state, needs_staff=self.state == IncidentState.NEEDS_STAFF)
        name = f"{event}-{key}" if key else event
        step = RecordIncidentEventInput(
            self._id, name, event, workflow.time(), actor=actor, state=state, detail=detail or {}
        )
        async with self._lock:
            await self.caller.execute(activities.record_incident_event, step, event)
