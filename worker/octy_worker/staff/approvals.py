"""A second person approves an order, which is then carried out."""

from octy_worker.access.order_states import OrderState
from octy_worker.access.orders import Order
from octy_worker.access.receipts import Receipt
from octy_worker.staff.acts import ACTS, Approval
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.orders import carry_out
from octy_worker.staff.outputs import Approved


def approve(context: StaffContext, order: Order, fields: Approval) -> Approved:  # noqa: ARG001  # the receipts read them
    """Approve the order that waits, and carry it out, unless its output is for its author. Raises as its act does."""
    with context.database.write_session() as session:
        approved = context.receipts.approvals.approve(session, order, context.clock())
        context.use(session, order)
    record("order_approved", order.actor, reason=order.reason, order=approved.order_id, author=approved.actor)
    act = ACTS[approved.action]
    if not act.for_author:
        carry_out(context, act, Receipt(approved, 0, "", OrderState.RECEIVED))
    return Approved(approved.order_id, str(approved.action), approved.actor, not act.for_author)
