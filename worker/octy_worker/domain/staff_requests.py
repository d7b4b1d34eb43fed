"""Staff requests in SQL: saved before a message goes to a workflow, loaded and marked as used by its activity.

A message to a workflow carries only the request's id. Anybody with access to Temporal can send one, so the row decides:
it must exist, be about this workflow's subject and this action, and be unused.
"""

from dataclasses import asdict
from enum import StrEnum
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import Session, col

from octy_middleware.clock import utc
from octy_middleware.db.models import StaffRequestRow
from octy_worker.errors import RefusedError
from octy_workflows.messages import RefusalReason, StaffAction
from octy_workflows.staff_requests import Choice, StaffDecision, StaffRequest

_OF_EVERY_ORDER = ("actor", "reason")


class OrderResult(StrEnum):
    """The result of a request."""

    USED = "used"  # its workflow took it
    REFUSED = "refused"  # before its workflow took it


REFUSAL_TEXTS = {
    RefusalReason.REQUEST_MISSING: "there is no staff order of this id",
    RefusalReason.REQUEST_MISMATCH: "the staff order of this id is about something else",
    RefusalReason.REQUEST_USED: "the staff order of this id was used already",
}


class UnusableOrderError(Exception):
    """An order that can't be used; `why` says which rule it breaks."""

    def __init__(self, why: RefusalReason) -> None:
        super().__init__(REFUSAL_TEXTS[why])
        self.why = why


def save_order(session: Session, action: StaffAction, subject_id: str, request: StaffRequest, now: float) -> None:
    """Save a request, unless the same one exists; then its first reason is kept.

    Raises RefusedError for another order of this id.
    """
    fields = {
        name: value for name, value in asdict(request).items() if name not in (*_OF_EVERY_ORDER, request.id_field)
    }
    same = {"action": str(action), "subject_id": subject_id, "fields": fields, "actor": request.actor}
    there = session.get(StaffRequestRow, request.id)
    if there is None:
        session.connection().execute(
            insert(StaffRequestRow).values(
                id=request.id, reason=request.reason, created_at=utc(now), used_by="", result="", **same
            )
        )
    elif {name: getattr(there, name) for name in same} != same:
        raise RefusedError(f"the id {request.id} belongs to another request → leave the option out to get a new id")


def use_staff_request(
    session: Session, order_id: str, action: StaffAction, subject_id: str, *, by: str, now: float
) -> StaffRequestRow:
    """Mark an order as used, by one conditional UPDATE, and return it. Raises UnusableOrderError.

    `by` names the call: when it is repeated because its answer was lost, it finds its own mark.
    """
    order = session.get(StaffRequestRow, order_id)
    if order is None:
        raise UnusableOrderError(RefusalReason.REQUEST_MISSING)
    if order.subject_id != subject_id or order.action != action:
        raise UnusableOrderError(RefusalReason.REQUEST_MISMATCH)
    unused = (col(StaffRequestRow.id) == order_id, col(StaffRequestRow.used_at).is_(None))
    marked = session.connection().execute(
        update(StaffRequestRow).where(*unused).values(used_at=utc(now), used_by=by, result=OrderResult.USED)
    )
    if marked.rowcount != 1 and order.used_by != by:
        raise UnusableOrderError(RefusalReason.REQUEST_USED)
    return order


def withdraw_order(session: Session, order_id: str, now: float) -> None:
    """Record that a request was refused, so that it can't be used later."""
    session.connection().execute(
        update(StaffRequestRow)
        .where(col(StaffRequestRow.id) == order_id, col(StaffRequestRow.used_at).is_(None))
        .values(used_at=utc(now), result=OrderResult.REFUSED)
    )


def request_of(order: StaffRequestRow, id_field: str) -> dict[str, Any]:
    """Return the request in the form that workflows read."""
    return {**order.fields, "actor": order.actor, "reason": order.reason, id_field: order.id}


def used_decision(session: Session, order_id: str, incident_id: str) -> StaffRequestRow | None:
    """Return a decision about this incident that its workflow has marked as used."""
    order = session.get(StaffRequestRow, order_id)
    if order is None or order.result != OrderResult.USED:
        return None
    is_about_it = (order.action, order.subject_id) == (StaffAction.DECIDE, incident_id)
    return order if is_about_it else None


def check_staff(actor: str, reason: str) -> None:
    """Raise RefusedError unless actor and reason are valid; the rules are those of decisions."""
    error = StaffDecision(Choice.DISMISS, actor, reason).error()
    if error is not None:
        raise RefusedError(error)
