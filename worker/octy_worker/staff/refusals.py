"""Refused orders about an incident: in its timeline and the system log, without invalid content."""

from typing import Any

from sqlmodel import Session

from octy_middleware.clock import uuid7
from octy_middleware.db.models import Incident, Regeneration
from octy_worker.domain import incidents, regenerations
from octy_worker.staff.actor import login_name
from octy_worker.staff.acts import Decision, Extension, NewAnswer, Resend
from octy_worker.staff.amendments import ANSWERS
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Fields, RefusedOrder
from octy_workflows.order_content import actor_error, reason_error

_EVENTS = {
    Decision: "decision_refused",
    Extension: "extension_refused",
    Resend: "resend_refused",
    NewAnswer: "change_refused",
}


def record_refusal(context: StaffContext, refused: RefusedOrder[Decision | Extension | Resend | NewAnswer]) -> None:
    """Record a refused order, in the timeline once for each id."""
    actor = login_name() if actor_error(refused.actor) else refused.actor
    reason = None if reason_error(refused.reason) else refused.reason
    facts, event = known_facts(refused.fields), _EVENTS[type(refused.fields)]
    with context.database.write_session() as session:
        incident_id = _incident_of(session, refused.subject)
        if incident_id is None and session.get(Regeneration, refused.subject) is not None:
            subject = {"regeneration": refused.subject}
        else:
            subject = {"incident": incident_id or refused.subject}
        if incident_id is not None:
            incidents.record_refused_decision(
                session,
                incident_id,
                decision_id=refused.order_id or uuid7(context.clock()),
                actor=actor,
                detail={**facts, **({} if reason is None else {"reason": reason}), "why": refused.why},
                now=context.clock(),
                what=event,
            )
    record(event, actor, why=refused.why, reason=reason, **subject, **facts, order_id=refused.order_id)


def _incident_of(session: Session, subject_id: str) -> str | None:
    """Return the incident that an order is about, or that waits for the regeneration that it is about."""
    if session.get(Incident, subject_id) is not None:
        return subject_id
    return next(iter(regenerations.waiting_incidents(session, subject_id)), None)


def known_facts(fields: Fields) -> dict[str, Any]:
    """Return what was ordered; nothing for an unknown kind of mail, which may be any text."""
    match fields:
        case Decision():
            return {"decision": fields.decision}
        case NewAnswer():
            return {"answer": str(ANSWERS.get(fields.answer, "")), "leaked": fields.leaked}
        case Extension():
            return {"days": fields.days}
        case Resend() if fields.kind and fields.error() is None:
            return {"kind": fields.kind}
        case _:
            return {}
