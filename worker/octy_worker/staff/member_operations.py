"""What admins can read and order about staff. The subject of each act is a handle."""

from typing import Any

from octy_worker.access.roles import Action
from octy_worker.staff.member_types import Granted, Invited, ListStaff, NewMember, NewRole, NoFields, StaffLine
from octy_worker.staff.operations import Act, Listed, Query

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
