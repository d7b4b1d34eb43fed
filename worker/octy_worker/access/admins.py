"""Where the admins of staff are told of what concerns all of them."""

from collections.abc import Sequence

from sqlmodel import Session, select

from octy_middleware.db.models import Staff
from octy_worker.access.members import StaffState
from octy_worker.access.roles import Role


def admin_addresses(session: Session) -> Sequence[str]:
    """Return the mail addresses of the active admins that have one."""
    query = select(Staff.mail).where(Staff.role == Role.ADMIN, Staff.state == StaffState.ACTIVE, Staff.mail != "")
    return session.exec(query.order_by(Staff.handle)).all()
