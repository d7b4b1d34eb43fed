"""How orders have ended: as the audit log says, whatever their rows say; and the texts about it."""

import json

from sqlmodel import Session, col, select

from octy_middleware.db.models import AuditEntry, StaffOrder
from octy_worker.access.order_states import REFUSED, USED, OrderState
from octy_worker.audit import repository as audit

STATE_TEXTS: dict[str, str] = {
    OrderState.WAITING: "waits for a second person",
    OrderState.RECEIVED: "was used already",  # by a call at the same time
    OrderState.USED: "was used already",
    OrderState.REFUSED: "was refused already",
}


def not_received(row: StaffOrder) -> str:
    """Return why an order can't be used by its state, which may have been set by SQL."""
    return f"the staff order of this id {STATE_TEXTS.get(row.state, 'has no valid state')}"


def record_refusal(
    session: Session, actor: str, subject: str, why: str, *, order_id: str, now: float, was_received: bool = False
) -> None:
    """Append a refused order to the audit log. `was_received`: it can't be used any more."""
    detail = {"why": why, **({"received": True} if was_received else {})}
    audit.append(session, REFUSED, actor=actor, subject=subject, order_id=order_id, detail=detail, now=now)


def end_of(session: Session, order_id: str, by: str) -> OrderState | None:
    """Return how the audit log says that the order has ended: used by another call, or refused after its receipt."""
    query = select(AuditEntry.action, AuditEntry.detail).where(AuditEntry.order_id == order_id)
    for action, detail in session.exec(query.where(col(AuditEntry.action).in_([USED, REFUSED]))):
        said = _fields_of(detail)
        if action == USED and said != {"by": by}:
            return OrderState.USED
        if action == REFUSED and (said is None or "received" in said):
            return OrderState.REFUSED
    return None


def _fields_of(detail: str | None) -> dict[str, object] | None:
    """Return a detail's fields; None for one that was erased, or that SQL has made unreadable."""
    try:
        said = json.loads(detail or "")
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
