"""Orders by break glass, and who has acknowledged them: an admin, by a signed order.

The audit log says which orders came by break glass. Their rows are believed by their code alone, so that neither an
order nor its acknowledgement can be hidden or made by SQL without a trace.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, or_, select

from octy_middleware.db.models import AuditEntry, StaffOrder
from octy_worker.access.order_states import BREAK_GLASS, RECEIVED, USED, OrderState
from octy_worker.access.roles import Action
from octy_worker.audit.chain import has_right_detail

HasRightCode = Callable[[StaffOrder], bool]
"""Returns whether the row of an order was written by this system and not changed (`OrderReceipts.has_right_code`)."""


@dataclass(frozen=True, slots=True)
class BrokenGlass:
    """An order by break glass. `hidden`: its row was deleted or changed, and the audit log has it."""

    order_id: str
    hidden: bool


def unacknowledged(session: Session, has_right_code: HasRightCode) -> list[BrokenGlass]:
    """Return the orders by break glass that no admin has acknowledged yet, oldest first."""
    found = {one.order_id: one for one in _logged(session, has_right_code)}
    by_row = select(StaffOrder.id).where(StaffOrder.factor == BREAK_GLASS, StaffOrder.part_of == "")
    for order_id in session.exec(by_row):  # the audit log has lost its entry, which its verification finds
        found.setdefault(order_id, BrokenGlass(order_id, hidden=False))
    done = _acknowledged(session, list(found), has_right_code)
    return [found[order_id] for order_id in sorted(found) if order_id not in done]


def _logged(session: Session, has_right_code: HasRightCode) -> Iterator[BrokenGlass]:
    """Yield the orders of which the audit log says, or may have said, that they came by break glass."""
    query = (
        select(AuditEntry, StaffOrder)
        .outerjoin(StaffOrder, col(StaffOrder.id) == col(AuditEntry.order_id))
        .where(AuditEntry.action == RECEIVED)
        .where(
            or_(
                col(AuditEntry.detail).is_(None),
                col(AuditEntry.detail).contains(f'"{BREAK_GLASS}"'),
                col(StaffOrder.id).is_(None),
            )
        )
    )
    for entry, row in session.exec(query):
        is_broken, hidden = _judge(entry, row, has_right_code)
        if is_broken:
            yield BrokenGlass(entry.order_id, hidden)


def _judge(entry: AuditEntry, row: StaffOrder | None, has_right_code: HasRightCode) -> tuple[bool, bool]:
    """Return whether an order came by break glass, and whether its row was deleted or changed."""
    if row is not None and has_right_code(row):
        return row.factor == BREAK_GLASS, False
    if entry.detail is not None and entry.salt is not None:
        is_right = has_right_detail(entry.detail, entry.salt, entry.commitment)
        return not is_right or _factor_in(entry.detail) == BREAK_GLASS, True
    if row is not None and not row.body:  # erased with what is known about a customer: row and detail
        return row.factor == BREAK_GLASS, False
    return True, True  # what it was is unknown


def _factor_in(detail: str) -> object:
    """Return the factor that a detail names; of one that this system did not write, break glass."""
    try:
        return json.loads(detail)["factor"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return BREAK_GLASS


def _acknowledged(session: Session, order_ids: Sequence[str], has_right_code: HasRightCode) -> set[str]:
    used = select(AuditEntry.seq).where(AuditEntry.order_id == col(StaffOrder.id), AuditEntry.action == USED)
    query = (
        select(StaffOrder)
        .where(StaffOrder.action == Action.ACKNOWLEDGE, col(StaffOrder.subject).in_(order_ids))
        .where(StaffOrder.state == OrderState.USED, StaffOrder.factor != BREAK_GLASS)
        .where(used.exists())  # the code does not cover the state
    )
    return {row.subject for row in session.exec(query) if has_right_code(row)}
