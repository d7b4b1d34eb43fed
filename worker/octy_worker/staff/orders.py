"""Receives orders and carries them out, however they came: on the host, or through the staff API."""

import json
from typing import Any, NoReturn

from octy_middleware.db.models import StaffOrder
from octy_middleware.errors import InvalidInputError
from octy_worker.access.order_ends import record_refusal
from octy_worker.access.order_states import OrderState
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.proofs import Evidence, Proof
from octy_worker.access.receipts import Receipt
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError, WaitsForApprovalError
from octy_worker.staff.context import StaffContext
from octy_worker.staff.json_values import from_json
from octy_worker.staff.operations import Act, F, O, RefusedOrder, Submission
from octy_worker.staff.order_forms import private_text, read_fields, read_private


class RefusedProofError(RefusedError):
    """An order was not received: signature, second factor, time or role is not accepted. The audit log has it."""


def evidence_of(submission: Submission, source: str) -> Proof | None:
    """Return the proof in a submission from this address; None: it has none."""
    return Evidence(submission.signature, submission.code, source) if submission.signature else None


def perform(context: StaffContext, act: Act[F, O], submission: Submission, proof: Proof | None) -> O:
    """Receive an order and carry it out. Raises RefusedError, recorded, WaitsForApprovalError and what the act raises.

    The same submission again gives the same receipt; what was done already is not done again.
    """
    return carry_out(context, act, receive(context, act, submission, proof))


def receive(context: StaffContext, act: Act[Any, Any], submission: Submission, proof: Proof | None) -> Receipt:
    """Receive an order in a transaction of its own. Raises RefusedError, after recording it."""
    body = submission.body.encode()
    try:
        order = Order.from_bytes(body)
        if proof is not None:
            read_fields(act, order, submission.private)
    except InvalidOrderError as error:
        raise RefusedError(str(error)) from None
    try:
        with context.database.write_session() as session:
            return context.receipts.receive(
                session, body, proof, context.clock(), private=private_text(submission.private)
            )
    except RefusedSignatureError as error:
        _refuse_unreceived(context, order, str(error))


def carry_out(context: StaffContext, act: Act[F, O], receipt: Receipt) -> O:
    """Carry out a received order; one that is refused can't be used later. Raises what the act raises."""
    order = receipt.order
    if receipt.state is OrderState.WAITING:
        raise WaitsForApprovalError(order.order_id)
    kept = _find_output(context, act, order)
    if kept is not None:
        return kept
    with context.database.read_session() as session:
        private = session.get_one(StaffOrder, order.order_id).private
    if act.private and not private:
        raise RefusedError("the staff order of this id was used already")
    try:
        fields = read_fields(act, order, read_private(private))
    except InvalidOrderError as error:  # the private fields were changed
        raise RefusedError(str(error)) from None
    try:
        done = act.run(context, order, fields)
    except (RefusedSignatureError, RefusedError, InvalidInputError) as error:
        kept = _find_output(context, act, order)  # of a call at the same time
        if kept is not None:
            return kept
        _refuse(context, act, order, fields, error)
    with context.database.read_session() as session:
        state = session.get_one(StaffOrder, order.order_id).state
    assert state != OrderState.RECEIVED, f"{act.action} did not use its order"
    assert context.kept == order.order_id or not act.keeps_output, f"{act.action} did not keep its output"
    return done


def _find_output(context: StaffContext, act: Act[Any, O], order: Order) -> O | None:
    """Return what an earlier call with this order has done; None: there was none, or its output is not kept."""
    if not act.keeps_output:
        return None
    with context.database.read_session() as session:
        kept = context.receipts.find_output(session, order.order_id)
    try:
        return from_json(act.output, json.loads(kept)) if kept else None
    except (ValueError, RecursionError):  # it was changed by SQL
        return None


def _refuse(context: StaffContext, act: Act[F, Any], order: Order, fields: F, error: Exception) -> NoReturn:
    if isinstance(error, RefusedSignatureError):
        error = RefusedError(str(error))
    with context.database.write_session() as session:
        context.receipts.refuse(session, order.order_id, str(error), context.clock())
    act.refused(
        context, RefusedOrder(order.order_id, order.subject, order.actor, order.reason, fields, str(error))
    )  # fmt: skip
    raise error


def _refuse_unreceived(context: StaffContext, order: Order, why: str) -> NoReturn:
    """Record in the audit log that an order was not received: its sender claims to be the actor."""
    with context.database.write_session() as session:
        record_refusal(session, order.actor, order.subject, why, order_id=order.order_id, now=context.clock())
    raise RefusedProofError(f"the order was refused: {why}")
