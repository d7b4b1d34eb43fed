"""Activities for messages to workflows: used staff orders, ignored signals, missing subjects."""

import logging
from collections.abc import Callable, Iterable

from sqlmodel import Session
from temporalio import activity

from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident
from octy_middleware.states import IncidentState
from octy_worker.access.order_states import UnusableOrderError
from octy_worker.access.orders import is_order_id
from octy_worker.access.receipts import OrderReceipts, record_refusal
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.staff_orders import ACTIONS, content_of
from octy_workflows.messages import (
    IgnoredSignal,
    MissingSubject,
    RefusalReason,
    Signal,
    StaffAction,
    UseOrderInput,
    UseOrderResult,
    WorkflowKind,
)
from octy_workflows.staff_orders import StaffDecision, StaffExtension, StaffResend, parse_order

_MAX_RECORDED = 20  # ignored signals in one timeline; further ones are only counted
_SIGNAL_NAMES = frozenset(Signal)
_FORMS: dict[StaffAction, tuple[type[StaffDecision] | type[StaffExtension] | type[StaffResend], str]] = {
    StaffAction.DECIDE: (StaffDecision, "decision"),
    StaffAction.EXTEND: (StaffExtension, "extension"),
    StaffAction.RESEND: (StaffResend, "resend order"),
    StaffAction.RESEND_KEYS: (StaffResend, "resend order"),
}

_CONTINUES = "it continues: the missing row is there, or is not needed any more"

Count = Callable[[WorkflowKind, RefusalReason], None]
_log = logging.getLogger("octy.messages")


class WorkflowMessageActivities:
    """Activities for messages. `count` is called for each refused message, `count_missing` for each missing subject."""

    def __init__(
        self, database: Database, receipts: OrderReceipts, count: Count, count_missing: Callable[[WorkflowKind], None]
    ) -> None:
        self._database = database
        self._receipts = receipts
        self._count = count
        self._count_missing = count_missing

    @activity.defn(name="record_ignored_signal", no_thread_cancel_exception=True)
    def record_ignored_signal(self, signal: IgnoredSignal) -> None:
        """Count a signal that changes nothing, and add it to the incident's timeline if there is one."""
        name = signal.signal if signal.signal in _SIGNAL_NAMES else "unknown"  # it may be any text
        if signal.number <= _MAX_RECORDED:
            with self._database.write_session() as session:
                for incident_id in _timelines(session, signal.kind, signal.subject_id):
                    incidents.append_event(
                        session,
                        incident_id,
                        key=f"ignored-{_call_id()}",
                        actor=incidents.SYSTEM,
                        what="signal_ignored",
                        detail={"signal": name, "workflow": str(signal.kind), "why": str(signal.reason)},
                        now=signal.at,
                    )
        self._count_refused(signal.kind, signal.subject_id, signal.reason)

    @activity.defn(name="record_missing_subject", no_thread_cancel_exception=True)
    def record_missing_subject(self, missing: MissingSubject) -> None:
        """Log and count a missing subject, and notify staff in the timelines of its incidents; or take that back."""
        with self._database.write_session() as session:
            for incident_id in _timelines(session, missing.kind, missing.subject_id):
                new = incidents.append_event(
                    session,
                    incident_id,
                    key=f"missing-{_call_id()}",
                    actor=incidents.SYSTEM,
                    what="staff_not_needed" if missing.resolved else "subject_missing",
                    detail={"because": _CONTINUES}
                    if missing.resolved
                    else {"why": missing.cause, "workflow": str(missing.kind)},
                    now=missing.at,
                )
                if new and not missing.resolved:
                    incidents.set_state(session, incident_id, IncidentState.NEEDS_STAFF)
                if new and missing.resolved:
                    incidents.clear_needs_staff(session, incident_id, IncidentState(missing.state or "regenerating"))
        if missing.resolved:
            _log.info("the workflow of %s %s: %s", missing.kind, missing.subject_id, _CONTINUES)
            return
        self._count_missing(missing.kind)
        _log.error("the workflow of %s %s can't continue: %s", missing.kind, missing.subject_id, missing.cause)

    @activity.defn(name="use_order", no_thread_cancel_exception=True)
    def use_order(self, step: UseOrderInput) -> UseOrderResult:
        """Check an order, and mark it as used by one conditional UPDATE; a retry of this call may repeat that."""
        form, noun = _FORMS[step.action]
        if not step.order_id:
            return self._refuse(step, RefusalReason.UNREADABLE, step.error)
        try:
            with self._database.write_session() as session:
                order = self._receipts.use(
                    session, step.order_id, ACTIONS[step.action], step.subject_id, by=_call_id(), now=step.at
                )
        except UnusableOrderError as error:
            return self._refuse(step, error.reason, str(error))
        except RefusedSignatureError as error:
            return self._refuse(step, RefusalReason.ORDER_UNPROVEN, str(error))
        content = content_of(order)
        parsed = parse_order(form, noun, content)
        if isinstance(parsed, str):
            return self._refuse(step, RefusalReason.ORDER_INVALID, parsed)
        return UseOrderResult("", content)

    def _refuse(self, step: UseOrderInput, reason: RefusalReason, message: str) -> UseOrderResult:
        order_id = step.order_id if is_order_id(step.order_id) else ""  # it may be any text
        with self._database.write_session() as session:
            added = [
                incidents.append_event(
                    session,
                    incident_id,
                    key=f"refused-{step.order_id or _call_id()}",
                    actor=incidents.SYSTEM,
                    what=step.refused_event,
                    detail={"why": message},
                    now=step.at,
                )
                for incident_id in _timelines(session, step.kind, step.subject_id)
            ]
            if not added or any(added):  # not by a retry
                record_refusal(session, incidents.SYSTEM, step.subject_id, message, order_id=order_id, now=step.at)
        self._count_refused(step.kind, step.subject_id, reason)
        return UseOrderResult(message)

    def _count_refused(self, kind: WorkflowKind, subject_id: str, reason: RefusalReason) -> None:
        self._count(kind, reason)
        _log.warning("a message to the workflow of %s %s was refused: %s", kind, subject_id, reason)


def _timelines(session: Session, kind: WorkflowKind, subject_id: str) -> Iterable[str]:
    """Return the ids of the incidents in whose timelines it is recorded."""
    if kind is WorkflowKind.REGENERATION:
        return regenerations.waiting_incidents(session, subject_id)
    if kind is not WorkflowKind.INCIDENT:
        return []
    return [] if session.get(Incident, subject_id) is None else [subject_id]


def _call_id() -> str:
    """Return an id of this activity call; retries have the same one."""
    info = activity.info()
    return f"{info.workflow_run_id}-{info.activity_id}"
