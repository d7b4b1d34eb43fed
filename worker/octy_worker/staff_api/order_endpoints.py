"""Orders that wait for their author's signature: kept, listed, and removed once they were received."""

from typing import Any

from octy_middleware.clock import utc
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.pending_orders import PendingOrder
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError
from octy_worker.staff.operations import Act, Submission
from octy_worker.staff.order_forms import private_text, read_fields, read_private
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.wire import PendingLine, PendingList

ORDER_PAGE = "/staff/orders/"
"""Path of the page on which a passkey signs (`pages.orders`); the order's id follows."""


def keep_order(office: StaffOffice, order: Order, act: Act[Any, Any], submission: Submission) -> PendingLine:
    """Have an order wait for its author's signature. Raises RefusedError."""
    now, body = office.clock(), submission.body.encode()
    try:
        read_fields(act, order, submission.private)
        with office.database.write_session() as session:
            private = private_text(submission.private)
            office.pending.add(session, body, actor=order.actor, now=now, private=private)
            found = office.pending.find(session, order.order_id, actor=order.actor, now=now)
    except (RefusedSignatureError, InvalidOrderError) as error:
        raise RefusedError(str(error)) from None
    assert found is not None, "it was added in this transaction"
    return _line(office, found)


def list_orders(office: StaffOffice, actor: str) -> PendingList:
    """Return the orders that this person can still sign, the oldest first."""
    with office.database.read_session() as session:
        found = office.pending.of(session, actor, office.clock())
    return PendingList(tuple(_line(office, one) for one in found))


def forget_order(office: StaffOffice, order: Order) -> None:
    """Remove an order that was received; most never waited."""
    with office.database.read_session() as session:
        found = office.pending.find(session, order.order_id, actor=order.actor, now=office.clock())
    if found is not None:
        with office.database.write_session() as session:
            office.pending.remove(session, order.order_id, actor=order.actor)


def _line(office: StaffOffice, found: PendingOrder) -> PendingLine:
    return PendingLine(
        found.order.order_id,
        found.body.decode(),
        read_private(found.private),
        utc(found.expires_at),
        f"{office.server}{ORDER_PAGE}{found.order.order_id}",
    )
