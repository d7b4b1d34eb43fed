"""A second person approves an order, which is then carried out; an admin acknowledges one by break glass."""

from octy_worker.access.break_glass import unacknowledged
from octy_worker.access.orders import Order
from octy_worker.access.receipts import Receipt
from octy_worker.errors import RefusedError
from octy_worker.staff.acts import ACTS, Approval
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import NoFields
from octy_worker.staff.orders import carry_out
from octy_worker.staff.outputs import Approved, Done


def approve(context: StaffContext, order: Order, _fields: Approval) -> Approved:
    """Approve the order that waits, and carry it out, unless its output is for its author. Raises as its act does.

    The digest is compared where the approval is received.
    """
    approved = _approve_once(context, order)
    act = ACTS[approved.action]
    if not act.for_author:
        carry_out(context, act, Receipt(approved))
    return Approved(approved.order_id, str(approved.action), approved.actor, not act.for_author)


def _approve_once(context: StaffContext, order: Order) -> Order:
    """Return what is approved, also where an earlier call with this approval has approved it."""
    receipts = context.receipts
    with context.database.write_session() as session:
        if receipts.load_used(session, order.order_id, order.action, order.subject) is not None:
            return receipts.approvals.find_approved(session, order)
        approved = receipts.approvals.approve(session, order, context.clock())
        context.use(session, order)
    record("order_approved", order.actor, reason=order.reason, order=approved.order_id, author=approved.actor)
    return approved


def acknowledge(context: StaffContext, order: Order, _fields: NoFields) -> Done:
    """Acknowledge an order by break glass. Raises RefusedError where there is nothing to acknowledge."""
    with context.database.write_session() as session:
        waiting = unacknowledged(session, context.receipts.has_right_code)
        if order.subject not in {one.order_id for one in waiting}:
            raise RefusedError("there is no order of this id by break glass that waits to be acknowledged")
        context.use(session, order)
        done = context.keep(session, order, Done(order.order_id))
    record("break_glass_acknowledged", order.actor, reason=order.reason, order=order.subject)
    return done
