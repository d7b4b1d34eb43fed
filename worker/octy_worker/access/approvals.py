"""Four eyes: an order of some actions waits until a second person has approved it.

An approval is an order itself (`order.approve`, signed in the namespace `octy-approval`), about the id of the other
one, with its digest. It proves itself at the use of what it approves, so that a state set by SQL approves nothing.
Break glass never approves: one person at the host would be both.
"""

from collections.abc import Callable

from sqlalchemy import update
from sqlmodel import Session, col, select

from octy_middleware.db.models import StaffOrder
from octy_worker.access.order_states import BREAK_GLASS, ORDER_TTL, OrderState, UnusableOrderError
from octy_worker.access.orders import Order
from octy_worker.access.roles import Action, Role, required_role
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_workflows.messages import RefusalReason


class Approvals:
    """Judges approvals in the caller's transaction. `verify` returns what a row's order says, if the row is right.

    `require_active` raises RefusedSignatureError for a person who may not act in a role now.
    """

    def __init__(
        self,
        require_active: Callable[[Session, str, Role], None],
        verify: Callable[[Session, StaffOrder], Order],
    ) -> None:
        self._require_active = require_active
        self._verify = verify

    def approve(self, session: Session, approval: Order, now: float) -> Order:
        """Let a waiting order be used, by one conditional UPDATE; return it. Raises RefusedSignatureError."""
        row = session.get(StaffOrder, approval.subject)
        if row is None:
            raise RefusedSignatureError("there is no order of this id")
        order = self._verify(session, row)
        self._check(session, approval, order)
        _refuse_break_glass(session.get(StaffOrder, approval.order_id))
        if now - row.received_at.timestamp() > ORDER_TTL:
            raise RefusedSignatureError("the order has waited for more than 24 hours; its author orders it again")
        approved = session.connection().execute(
            update(StaffOrder)
            .where(col(StaffOrder.id) == row.id, col(StaffOrder.state) == OrderState.WAITING)
            .values(state=OrderState.RECEIVED)
        )
        if approved.rowcount != 1:
            raise RefusedSignatureError(f"the order does not wait for an approval: it is {row.state}")
        return order

    def find_approved(self, session: Session, approval: Order) -> Order:
        """Return what a used approval is about. Raises RefusedSignatureError."""
        order = self._verify(session, session.get_one(StaffOrder, approval.subject))
        self._check(session, approval, order)
        return order

    def require(self, session: Session, order: Order) -> float:
        """Return when an approval by a second person was received (Unix seconds). Raises UnusableOrderError."""
        about = (StaffOrder.action == Action.APPROVE, StaffOrder.subject == order.order_id)
        query = select(StaffOrder).where(*about, StaffOrder.state == OrderState.USED)
        why = "no second person has approved it"
        for row in session.exec(query).all():
            try:
                self._check(session, self._verify(session, row), order)
                _refuse_break_glass(row)
            except RefusedSignatureError as error:
                why = str(error)
            else:
                return row.received_at.timestamp()
        raise UnusableOrderError(f"the staff order of this id can't be used: {why}", RefusalReason.ORDER_NOT_ALLOWED)

    def _check(self, session: Session, approval: Order, order: Order) -> None:
        if approval.actor == order.actor:
            raise RefusedSignatureError("an order is approved by somebody else than its author")
        if approval.fields.get("digest") != order.digest():
            raise RefusedSignatureError("the approval is about another content of the order")
        self._require_active(session, approval.actor, required_role(order.action, order.fields))


def _refuse_break_glass(row: StaffOrder | None) -> None:
    """Raise RefusedSignatureError unless the row of an approval was received, with a proof of who approves."""
    if row is None:
        raise RefusedSignatureError("the approval was not received")
    if row.factor == BREAK_GLASS:
        raise RefusedSignatureError("break glass does not serve as the second person")
