"""Where the admins of staff are told of what concerns all of them."""

from collections.abc import Sequence

from sqlmodel import Session

from octy_worker.access.members import Members, StaffState
from octy_worker.access.roles import Role


def admin_addresses(session: Session, members: Members) -> Sequence[str]:
    """Return the mail addresses of the active admins that have one, of rows that this system wrote."""
    found = [member for _, member in members.find_all(session) if member is not None]
    return [one.mail for one in found if one.mail and (one.role, one.state) == (Role.ADMIN, StaffState.ACTIVE)]
