"""Orders by break glass, and who has acknowledged them: an admin, by a signed order."""

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from octy_middleware.db.models import StaffOrder
from octy_worker.access.order_states import BREAK_GLASS, OrderState
from octy_worker.access.roles import Action


def unacknowledged(session: Session) -> list[str]:
    """Return the ids of orders by break glass that no admin has acknowledged yet, oldest first."""
    other = aliased(StaffOrder)
    acknowledged = (
        select(other.id)
        .where(other.action == Action.ACKNOWLEDGE, other.subject == col(StaffOrder.id))
        .where(other.state == OrderState.USED, other.factor != BREAK_GLASS)
        .exists()
    )
    broken = select(StaffOrder.id).where(StaffOrder.factor == BREAK_GLASS, StaffOrder.part_of == "", ~acknowledged)
    return list(session.exec(broken.order_by(col(StaffOrder.id))))
