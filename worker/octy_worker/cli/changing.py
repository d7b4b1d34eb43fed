"""An answer that staff changes: the order to SQL, its audit, and what it means in words.

Here: calling `octy_worker.staff.amendments` and telling of it. Not here: what a change does (there), what can be typed
(`incident_orders`).
"""

from octy_middleware.clock import uuid7
from octy_middleware.db.database import Database
from octy_worker.cli.context import now
from octy_worker.domain import incidents
from octy_worker.errors import OrderRefusedError
from octy_worker.staff.actor import login_name
from octy_worker.staff.amendments import Amendment, AmendmentResult, amend_answer
from octy_worker.staff.audit import record
from octy_workflows.staff_requests import actor_error, reason_error


def change(database: Database, incident_id: str, wish: Amendment) -> AmendmentResult:
    """Return what the change did. Raises OrderRefusedError, after auditing it."""
    facts: dict[str, str | bool | None] = {"incident": incident_id, "answer": str(wish.answer), "leaked": wish.leaked}
    facts |= {"change_id": wish.change_id}
    try:
        changed = amend_answer(database, incident_id, wish, now())
    except OrderRefusedError as refusal:
        _audit_refusal(database, incident_id, wish, str(refusal))
        record("change_refused", _actor(wish), why=str(refusal), reason=_reason(wish), **facts)
        raise
    record("answer_changed", wish.actor, reason=wish.reason, **facts)
    return changed


def _audit_refusal(database: Database, incident_id: str, wish: Amendment, why: str) -> None:
    at = now()
    reason = _reason(wish)
    detail = {"answer": str(wish.answer), "leaked": wish.leaked, "why": why, **({"reason": reason} if reason else {})}
    with database.write() as connection:
        incidents.record_refused_decision(
            connection,
            incident_id,
            decision_id=uuid7(at),
            actor=_actor(wish),
            detail=detail,
            now=at,
            what="change_refused",
        )


def _actor(wish: Amendment) -> str:
    return login_name() if actor_error(wish.actor) else wish.actor


def _reason(wish: Amendment) -> str | None:
    return None if reason_error(wish.reason) else wish.reason


def told(changed: AmendmentResult, wish: Amendment) -> list[str]:
    """Say what has become of the case, the keys and the quiet time."""
    if changed.repeated:
        return ["This change was made before; nothing was done twice."]
    if changed.withdrawn is not None:
        return ["The new keys are withdrawn: their link shows nothing now, and the old pair works on. The case closes."]
    if changed.ordered is not None:
        return ["New keys are ordered; a mail goes to the customer. The case stays closed, and its quiet time is over."]
    if changed.closed:
        return ["The case stays closed; its answer is written down."]
    if wish.leaked:
        return ["The old pair is cut: it is refused everywhere within one second. The new keys are on their way."]
    return ["The case goes on by this answer, as soon as `octy worker` runs."]
