"""The endpoints of orders: received, carried out, and those that wait for their author's signature."""

from typing import Any

from octy_middleware.clock import utc
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.pending_orders import PendingOrder
from octy_worker.access.receipts import Receipt
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError, UsageError
from octy_worker.staff.acts import ACTS
from octy_worker.staff.context import StaffContext
from octy_worker.staff.json_values import to_json
from octy_worker.staff.operations import Act, Submission
from octy_worker.staff.order_forms import private_text, read_fields, read_private
from octy_worker.staff.orders import carry_out, evidence_of, receive
from octy_worker.staff_api.access import Caller, StaffOffice
from octy_worker.staff_api.attempts import judge_proof
from octy_worker.staff_api.wire import (
    Nothing,
    OrderRequest,
    OrderResult,
    PendingLine,
    PendingList,
    ReceivedOrder,
)

MAX_TIMEOUT = 300.0
"""Seconds that an order may wait for a workflow."""
ORDER_PAGE = "/staff/orders/"
"""Path of the page on which a passkey signs (`pages.orders`); the order's id follows."""


def carry_out_order(office: StaffOffice, caller: Caller, wanted: OrderRequest) -> OrderResult:
    """Receive an order and carry it out. Raises CommandError or OctyError, as the act does."""
    order, act = _own_order(caller, wanted.submission)
    context = office.context()
    context.timeout = min(wanted.timeout, MAX_TIMEOUT)
    done = carry_out(context, act, _receive(office, caller, context, act, wanted.submission))
    _forget(office, order)
    return OrderResult(order.order_id, to_json(act.output, done))


def receive_order(office: StaffOffice, caller: Caller, wanted: OrderRequest) -> ReceivedOrder:
    """Receive an order only; it is carried out when its id is given to the workflow. Raises CommandError."""
    _, act = _own_order(caller, wanted.submission)
    return ReceivedOrder(_receive(office, caller, office.context(), act, wanted.submission).order.order_id)


def pend_order(office: StaffOffice, caller: Caller, wanted: OrderRequest) -> PendingLine:
    """Have an order wait for its author's signature. Raises UsageError or RefusedError."""
    order, act = _own_order(caller, wanted.submission)
    now, body, given = office.clock(), wanted.submission.body.encode(), wanted.submission.private
    try:
        read_fields(act, order, given)
        with office.database.write_session() as session:
            office.pending.add(session, body, actor=order.actor, now=now, private=private_text(given))
            found = office.pending.find(session, order.order_id, actor=order.actor, now=now)
    except (RefusedSignatureError, InvalidOrderError) as error:
        raise RefusedError(str(error)) from None
    assert found is not None, "it was added in this transaction"
    return _line(office, found)


def list_pending_orders(office: StaffOffice, caller: Caller, _value: Nothing) -> PendingList:
    """Return one's own orders that wait for a signature, the oldest first."""
    with office.database.read_session() as session:
        found = office.pending.of(session, caller.signed_in.handle, office.clock())
    return PendingList(tuple(_line(office, one) for one in found))


def _own_order(caller: Caller, submission: Submission) -> tuple[Order, Act[Any, Any]]:
    """Return the order in a submission, and its act. Raises UsageError, or RefusedError for somebody else's."""
    try:
        order = Order.from_bytes(submission.body.encode())
    except InvalidOrderError as error:
        raise UsageError(str(error)) from None
    if order.actor != caller.signed_in.handle:
        raise RefusedError(f"the order is by {order.actor}, and the session is of {caller.signed_in.handle}")
    return order, ACTS[order.action]


def _receive(
    office: StaffOffice, caller: Caller, context: StaffContext, act: Act[Any, Any], submission: Submission
) -> Receipt:
    """Receive an order within the limits of log-ins: its code can be a guess, and each refusal writes an entry."""
    proof = evidence_of(submission, caller.source)
    return judge_proof(office, caller.signed_in.handle, caller.source, lambda: receive(context, act, submission, proof))


def _forget(office: StaffOffice, order: Order) -> None:
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
