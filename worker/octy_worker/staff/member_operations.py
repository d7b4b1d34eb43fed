"""What admins can read and order about staff. The subject of each act is a handle."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_worker.access.roles import Action, Role
from octy_worker.staff.operations import Act, Fields, Listed, NoFields, Query


@dataclass(frozen=True, slots=True)
class Invited:
    """A staff member who can register a second factor. `token` is shown once; `link` is empty without a staff API."""

    handle: str
    role: str
    token: str
    link: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Granted:
    """Role and state of a staff member after an order."""

    handle: str
    role: str
    state: str


@dataclass(frozen=True, slots=True)
class NewMember(Fields):
    """Fields of `staff.add`."""

    role: str
    mail: str = ""
    display_name: str = ""

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return role_error(self.role)


@dataclass(frozen=True, slots=True)
class NewRole(Fields):
    """Fields of `staff.role`."""

    role: str

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return role_error(self.role)


@dataclass(frozen=True, slots=True)
class ListStaff:
    """`disabled`: also those who are disabled."""

    disabled: bool = False


@dataclass(frozen=True, slots=True)
class StaffLine:
    """A staff member. `is_genuine`: this system wrote the entry, and it is the newest grant of the audit log."""

    handle: str
    display_name: str
    role: str
    state: str
    factors: tuple[str, ...]
    granted_by: str
    created_at: datetime
    changed_at: datetime
    is_genuine: bool


def role_error(role: str) -> str | None:
    """Return why a role is invalid, or None."""
    return None if role in set(Role) else f"a role is one of {', '.join(Role)}"


_RUNNERS = "octy_worker.staff.member_orders"

ADD_STAFF = Act(
    Action.ADD_STAFF,
    NewMember,
    Invited,
    f"{_RUNNERS}:add",
    private=frozenset({"mail", "display_name"}),
    for_author=True,
)
CHANGE_ROLE = Act(Action.CHANGE_ROLE, NewRole, Granted, f"{_RUNNERS}:change_role")
DISABLE_STAFF = Act(Action.DISABLE_STAFF, NoFields, Granted, f"{_RUNNERS}:disable")
RESET_FACTOR = Act(Action.RESET_FACTOR, NoFields, Invited, f"{_RUNNERS}:reset_factors", for_author=True)
MEMBER_ACTS: tuple[Act[Any, Any], ...] = (ADD_STAFF, CHANGE_ROLE, DISABLE_STAFF, RESET_FACTOR)

LIST_STAFF = Query("staff.list", ListStaff, Listed[StaffLine], f"{_RUNNERS}:list_staff")
