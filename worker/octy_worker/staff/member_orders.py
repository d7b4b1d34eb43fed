"""What admins order about staff, and the list of staff: runners of acts and queries."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import Session

from octy_worker.access.orders import Order
from octy_worker.access.roles import Role
from octy_worker.errors import RefusedError
from octy_worker.settings import StaffSettings
from octy_worker.staff.context import StaffContext
from octy_worker.staff.member_operations import Granted, Invited, ListStaff, NewMember, NewRole, StaffLine
from octy_worker.staff.membership import Membership, Person
from octy_worker.staff.operations import Listed, NoFields


def add(context: StaffContext, order: Order, fields: NewMember) -> Invited:
    """Invite the order's subject."""
    person = Person(order.subject, fields.mail, fields.display_name)
    with _used(context, order) as (session, membership, now):
        return membership.add(session, person, Role(fields.role), granted_by=order.order_id, by=order.actor, now=now)


def change_role(context: StaffContext, order: Order, fields: NewRole) -> Granted:
    """Give the order's subject another role."""
    with _used(context, order) as (session, membership, now):
        granted = membership.change_role(
            session, order.subject, Role(fields.role), granted_by=order.order_id, by=order.actor, now=now
        )
        return context.keep(session, order, granted)


def disable(context: StaffContext, order: Order, _fields: NoFields) -> Granted:
    """End all rights of the order's subject."""
    with _used(context, order) as (session, membership, now):
        granted = membership.disable(session, order.subject, granted_by=order.order_id, by=order.actor, now=now)
        return context.keep(session, order, granted)


def reset_factors(context: StaffContext, order: Order, _fields: NoFields) -> Invited:
    """Remove the second factors of the order's subject."""
    with _used(context, order) as (session, membership, now):
        return membership.reset_factors(session, order.subject, granted_by=order.order_id, by=order.actor, now=now)


def list_staff(context: StaffContext, wanted: ListStaff) -> Listed[StaffLine]:
    """Return staff by handle."""
    members, lines = context.access.members, []
    with context.database.read_session() as session:
        for row, member in members.find_all(session):
            factors = () if member is None else members.factors.of(session, member.id)
            line = StaffLine(
                handle=row.handle,
                display_name=row.display_name,
                role=row.role,
                state=row.state,
                factors=tuple(factor.kind for factor in factors),
                granted_by=row.granted_by,
                created_at=row.created_at,
                changed_at=row.changed_at,
                is_genuine=member is not None,
            )
            if wanted.disabled or row.state != "disabled":
                lines.append(line)
    return Listed(tuple(lines), len(lines))


@contextmanager
def _used(context: StaffContext, order: Order) -> Iterator[tuple[Session, Membership, float]]:
    """Use an order in the transaction of its act. A second call with the same order is refused."""
    settings = context.settings(StaffSettings)
    if settings.staff_auth == "off":
        raise RefusedError("no role can be granted by an order that needs no proof", "set OCTY_STAFF_AUTH=on")
    now = context.clock()
    with context.database.write_session() as session:
        context.use(session, order)
        yield session, Membership(context.access, settings.staff_url), now
