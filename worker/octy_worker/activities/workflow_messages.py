"""What is told of workflows themselves: messages that are not believed as they come, and subjects that are missing.

Here: the activities that load staff orders by id, and note and count what is refused or missing. Not here:
SQL of orders (`orders`).
"""

import logging
from collections.abc import Callable, Iterable

from sqlalchemy import Connection, select
from sqlmodel import col
from temporalio import activity

from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident
from octy_middleware.states import IncidentState
from octy_worker.domain import incidents, regenerations, staff_requests
from octy_workflows.messages import (
    IgnoredSignal,
    MissingSubject,
    RefusalReason,
    Signal,
    StaffAction,
    UseStaffRequestInput,
    UseStaffRequestResult,
    WorkflowKind,
)
from octy_workflows.staff_requests import StaffDecision, StaffExtension, StaffResend, parse_request

_MOST_NOTED = 20  # ignored signals in one timeline; the others are counted
_NAMES = frozenset(Signal)
_FORMS: dict[StaffAction, tuple[type[StaffDecision] | type[StaffExtension] | type[StaffResend], str]] = {
    StaffAction.DECIDE: (StaffDecision, "decision"),
    StaffAction.EXTEND: (StaffExtension, "extension"),
    StaffAction.RESEND: (StaffResend, "order to send again"),
    StaffAction.RESEND_KEYS: (StaffResend, "order to send again"),
}

_GOES_ON = "it goes on: what was missing in the database is there, or is not waited for any more"

Count = Callable[[WorkflowKind, RefusalReason], None]
_log = logging.getLogger("octy.messages")


class WorkflowMessageActivities:
    """The activities about messages; `count` is told of each that is refused, `count_missing` of missing subjects."""

    def __init__(self, database: Database, count: Count, count_missing: Callable[[WorkflowKind], None]) -> None:
        self._database = database
        self._count = count
        self._count_missing = count_missing

    @activity.defn(name="note_ignored", no_thread_cancel_exception=True)
    def note_ignored(self, signal: IgnoredSignal) -> None:
        """Count a signal that changes nothing, and append it to the incident's timeline, if there is one."""
        name = signal.signal if signal.signal in _NAMES else "unknown"  # people type names, and anything in them
        if signal.number <= _MOST_NOTED:
            with self._database.write() as connection:
                for incident_id in _timelines(connection, signal.kind, signal.subject_id):
                    incidents.append_event(
                        connection,
                        incident_id,
                        key=f"ignored-{_call()}",
                        actor=incidents.SYSTEM,
                        what="signal_ignored",
                        detail={"signal": name, "workflow": str(signal.kind), "why": str(signal.why)},
                        now=signal.at,
                    )
        self._refused(signal.kind, signal.subject_id, signal.why)

    @activity.defn(name="note_missing", no_thread_cancel_exception=True)
    def note_missing(self, missing: MissingSubject) -> None:
        """Log and count a subject that is missing, and call staff in the timelines that there are; or end that."""
        with self._database.write() as connection:
            for incident_id in _timelines(connection, missing.kind, missing.subject_id):
                new = incidents.append_event(
                    connection,
                    incident_id,
                    key=f"missing-{_call()}",
                    actor=incidents.SYSTEM,
                    what="staff_not_needed" if missing.over else "subject_missing",
                    detail={"because": _GOES_ON}
                    if missing.over
                    else {"why": missing.cause, "workflow": str(missing.kind)},
                    now=missing.at,
                )
                if new and not missing.over:
                    incidents.set_state(connection, incident_id, IncidentState.NEEDS_STAFF)
                if new and missing.over:
                    incidents.clear_needs_staff(connection, incident_id, IncidentState(missing.state or "regenerating"))
        if missing.over:
            _log.info("the workflow of %s %s: %s", missing.kind, missing.subject_id, _GOES_ON)
            return
        self._count_missing(missing.kind)
        _log.error("the workflow of %s %s can't go on: %s", missing.kind, missing.subject_id, missing.cause)

    @activity.defn(name="use_order", no_thread_cancel_exception=True)
    def use_order(self, use: UseStaffRequestInput) -> UseStaffRequestResult:
        """Load a staff order, and let one conditional UPDATE mark it as used; a retry of this call finds its mark."""
        form, noun = _FORMS[use.action]
        if not use.order_id:
            return self._refuse(use, RefusalReason.UNREADABLE, use.why)
        try:
            with self._database.write() as connection:
                order = staff_requests.use_order(
                    connection, use.order_id, use.action, use.subject_id, by=_call(), now=use.at
                )
        except staff_requests.UnusableOrderError as error:
            return self._refuse(use, error.why, str(error))
        request = staff_requests.request_of(order, form.id_field)
        fault = parse_request(form, noun, request)
        if isinstance(fault, str):
            return self._refuse(use, RefusalReason.ORDER_FAULTY, fault)
        return UseStaffRequestResult("", request)

    def _refuse(self, use: UseStaffRequestInput, why: RefusalReason, words: str) -> UseStaffRequestResult:
        with self._database.write() as connection:
            for incident_id in _timelines(connection, use.kind, use.subject_id):
                incidents.append_event(
                    connection,
                    incident_id,
                    key=f"refused-{use.order_id or _call()}",
                    actor=incidents.SYSTEM,
                    what=use.what,
                    detail={"why": words},
                    now=use.at,
                )
        self._refused(use.kind, use.subject_id, why)
        return UseStaffRequestResult(words)

    def _refused(self, kind: WorkflowKind, subject_id: str, why: RefusalReason) -> None:
        self._count(kind, why)
        _log.warning("a message to the workflow of %s %s was refused: %s", kind, subject_id, why)


def _timelines(connection: Connection, kind: WorkflowKind, subject_id: str) -> Iterable[str]:
    """Return the incidents in whose timelines it is to be noted."""
    if kind is WorkflowKind.REGENERATION:
        return regenerations.waiting_incidents(connection, subject_id)
    if kind is not WorkflowKind.INCIDENT:
        return []
    known = connection.execute(select(col(Incident.id)).where(col(Incident.id) == subject_id)).first()
    return [] if known is None else [subject_id]


def _call() -> str:
    """Return a name of this call: the same when Temporal repeats it, and of no other call."""
    info = activity.info()
    return f"{info.workflow_run_id}-{info.activity_id}"
