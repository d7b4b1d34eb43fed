"""Activities for messages to workflows: used staff orders, ignored signals, missing subjects."""

import logging
import time
from collections.abc import Callable, Iterable

from sqlmodel import Session, select
from temporalio import activity

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.db.models import AuditEntry, Incident
from octy_middleware.states import IncidentState
from octy_worker.access.order_ends import record_refusal
from octy_worker.access.order_states import REFUSED, UnusableOrderError
from octy_worker.access.orders import is_order_id
from octy_worker.access.receipts import OrderReceipts
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.staff_orders import ACTIONS, content_of
from octy_workflows.messages import (
    IgnoredSignal,
    MissingSubject,
    RefusalReason,
    Signal,
    UseOrderInput,
    UseOrderResult,
    WorkflowKind,
)
from octy_workflows.order_content import parse_order
from octy_workflows.staff_input import ORDERED

MAX_RECORDED = 20
"""Of ignored signals, and of refused messages, in one timeline; further signals, and messages without an order, are
only counted."""
_LAST = MAX_RECORDED - 1
_WITHOUT_ORDER = frozenset({RefusalReason.UNREADABLE, RefusalReason.ORDER_MISSING})
_SIGNAL_NAMES = frozenset(Signal)
_CONTINUES = "it continues: the missing row is there, or is not needed any more"

Count = Callable[[WorkflowKind, RefusalReason], None]
_log = logging.getLogger("octy.messages")


class WorkflowMessageActivities:
    """Activities for messages. `count` is called for each refused message, `count_missing` for each missing subject.

    `clock`: tells how old an order is; a workflow's own time comes from Temporal.
    """

    def __init__(
        self,
        database: Database,
        receipts: OrderReceipts,
        count: Count,
        count_missing: Callable[[WorkflowKind], None],
        clock: Clock = time.time,
    ) -> None:
        self._database = database
        self._receipts = receipts
        self._count = count
        self._count_missing = count_missing
        self._clock = clock

    @activity.defn(name="record_ignored_signal", no_thread_cancel_exception=True)
    def record_ignored_signal(self, signal: IgnoredSignal) -> None:
        """Count a signal that changes nothing, and add it to the incident's timeline if there is one."""
        name = signal.signal if signal.signal in _SIGNAL_NAMES else "unknown"  # it may be any text
        if signal.number <= MAX_RECORDED:
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
        if not step.order_id:
            return self._refuse(step, RefusalReason.UNREADABLE, step.error)
        try:
            with self._database.write_session() as session:
                order = self._receipts.use(
                    session, step.order_id, ACTIONS[step.action], step.subject_id, by=_call_id(), now=self._clock()
                )
        except UnusableOrderError as error:
            return self._refuse(step, error.reason, str(error))
        except RefusedSignatureError as error:
            return self._refuse(step, RefusalReason.ORDER_UNPROVEN, str(error))
        content = content_of(order)
        parsed = parse_order(ORDERED[step.action], content)
        if isinstance(parsed, str):
            return self._refuse(step, RefusalReason.ORDER_INVALID, parsed)
        return UseOrderResult("", content)

    def _refuse(self, step: UseOrderInput, reason: RefusalReason, message: str) -> UseOrderResult:
        # Everybody who reaches Temporal can send such messages without end; those with the id of an order have one.
        if step.refused < MAX_RECORDED or reason not in _WITHOUT_ORDER:
            with self._database.write_session() as session:
                self._record_refused(session, step, reason, message)
        self._count_refused(step.kind, step.subject_id, reason)
        return UseOrderResult(message)

    def _record_refused(self, session: Session, step: UseOrderInput, reason: RefusalReason, message: str) -> None:
        """Add it to timelines and audit log, once for each id. An expired order ends."""
        order_id = step.order_id if is_order_id(step.order_id) else ""  # it may be any text
        is_last = step.refused == _LAST and reason in _WITHOUT_ORDER
        said = f"{message}; further messages without an order are only counted" if is_last else message
        added = [
            incidents.append_event(
                session,
                incident_id,
                key=f"refused-{step.order_id or _call_id()}",
                actor=incidents.SYSTEM,
                what=step.refused_event,
                detail={"why": said},
                now=step.at,
            )
            for incident_id in _timelines(session, step.kind, step.subject_id)
        ]
        if reason is RefusalReason.ORDER_EXPIRED:
            self._receipts.refuse(session, order_id, said, step.at)
        elif any(added) if added else not _was_refused(session, order_id, step.subject_id):
            record_refusal(session, incidents.SYSTEM, step.subject_id, said, order_id=order_id, now=step.at)

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


def _was_refused(session: Session, order_id: str, subject_id: str) -> bool:
    """Return whether the audit log says that this subject's workflow has refused an order."""
    about = (AuditEntry.order_id == order_id, AuditEntry.subject == subject_id, AuditEntry.actor == incidents.SYSTEM)
    query = select(AuditEntry.seq).where(*about, AuditEntry.action == REFUSED).limit(1)
    return bool(order_id) and session.exec(query).first() is not None


def _call_id() -> str:
    """Return an id of this activity call; retries have the same one."""
    info = activity.info()
    return f"{info.workflow_run_id}-{info.activity_id}"
