"""Receives orders: has each judged once (`proofs`), keeps what was ordered and how it was proven, has it used once.

At receipt: signature, certificate, source address, second factor, freshness, role. At use, which may be an hour later:
that the row is the one that was received, what was signed, the present role, revocation, that it is unused, and that it
did not wait for longer than `ORDER_TTL`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import insert, update
from sqlmodel import Session, col

from octy_middleware.clock import utc
from octy_middleware.db.models import StaffOrder
from octy_worker.access.approvals import Approvals
from octy_worker.access.order_ends import STATE_TEXTS, end_of, not_received, record_refusal
from octy_worker.access.order_states import (
    BREAK_GLASS,
    ORDER_TTL,
    RECEIVED,
    USED,
    OrderState,
    UnusableOrderError,
)
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.proofs import NoProofs, OrderProofs, Proof
from octy_worker.access.roles import Action, required_role
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_workflows.messages import RefusalReason


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted order, and whether it can be used."""

    order: Order
    state: OrderState = OrderState.RECEIVED


@dataclass(frozen=True, slots=True)
class Verified:
    """A row whose code and proof are right, and what was ordered. `whole`: of a part, the order of many acts."""

    row: StaffOrder
    order: Order
    whole: "Verified | None" = None


class OrderReceipts:
    """Receives and releases orders of one installation, in the caller's transaction.

    `four_eyes`: actions that wait for a second person.
    """

    def __init__(
        self, installation: str, proofs: OrderProofs | NoProofs, *, four_eyes: Collection[Action] = ()
    ) -> None:
        self._installation = installation
        self._proofs = proofs
        self._four_eyes = frozenset(four_eyes) - {Action.APPROVE}
        self.approvals = Approvals(proofs.require_active, self._verified)

    def receive(self, session: Session, body: bytes, proof: Proof | None, now: float, *, private: str = "") -> Receipt:
        """Judge an order and keep it. Raises RefusedSignatureError.

        The same order again gives the same receipt, and then needs no proof. `private`: JSON of what the order holds
        commitments to.
        """
        order = self._read(body)
        there = session.get(StaffOrder, order.order_id)
        if there is not None:
            return self._repeat(session, there, body)
        if not order.is_fresh(now):
            raise RefusedSignatureError("the order was made more than 5 minutes ago, or the clocks differ")
        proven = self._proofs.judge(session, order, body, proof, now)
        waits = order.action in self._four_eyes and proven.factor != BREAK_GLASS
        state = OrderState.WAITING if waits else OrderState.RECEIVED
        row = StaffOrder(
            id=order.order_id,
            action=str(order.action),
            subject=order.subject,
            actor=order.actor,
            body=body.decode(),
            private=private,
            signature=proven.signature,
            certificate=proven.certificate,
            factor=proven.factor,
            source=proven.source,
            received_at=utc(now),
            state=state,
            mac="",
        )
        self._insert(session, row)
        detail = {"order": str(order.action), "reason": order.reason, "certificate": proven.serial}
        audit.append(
            session, RECEIVED, actor=order.actor, subject=order.subject, order_id=order.order_id,
            detail={**detail, "factor": proven.factor, "state": str(state)}, now=now,
        )  # fmt: skip
        return Receipt(order, state)

    def use(self, session: Session, order_id: str, action: Action, subject: str, *, by: str, now: float) -> Order:
        """Mark an order as used, by one conditional UPDATE, and return what was ordered. Raises UnusableOrderError.

        `by` names the call: when it is repeated because its answer was lost, it finds its own mark.
        """
        row = _find(session, order_id)
        if (row.action, row.subject) != (action, subject):
            raise UnusableOrderError("the staff order of this id is about something else", RefusalReason.ORDER_MISMATCH)
        verified = self._verify(session, row)
        order, since = verified.order, self._check_authority(session, verified)
        end = end_of(session, order_id, by)
        if end is not None:  # also where somebody has set the row's state back
            raise UnusableOrderError(f"the staff order of this id {STATE_TEXTS[end]}", RefusalReason.ORDER_USED)
        if row.state == OrderState.RECEIVED and now - since > ORDER_TTL:
            why = "was received more than 24 hours ago and not used; order it again"
            raise UnusableOrderError(f"the staff order of this id {why}", RefusalReason.ORDER_EXPIRED)
        marked = session.connection().execute(
            update(StaffOrder)
            .where(col(StaffOrder.id) == order_id, col(StaffOrder.state) == OrderState.RECEIVED)
            .values(state=OrderState.USED, used_by=by, ended_at=utc(now), private="")
        )
        if marked.rowcount != 1 and not (row.state == OrderState.USED and row.used_by == by):
            raise UnusableOrderError(not_received(row), RefusalReason.ORDER_USED)
        if marked.rowcount == 1:
            audit.append(
                session, USED, actor=order.actor, subject=subject, order_id=order_id, detail={"by": by}, now=now
            )
        return order

    def add_part(self, session: Session, order_id: str, subject: str, now: float) -> Order:
        """Have the part of a used order of many acts received, about this subject, and return it.

        Raises RefusedSignatureError. A repeat returns the same part, whether or not it was used.
        """
        row = _find(session, order_id)
        part = _part_of(self._verified(session, row), subject)
        if session.get(StaffOrder, part.order_id) is not None:
            return part
        if row.state != OrderState.USED:
            raise UnusableOrderError("the staff order of this id is not used yet", RefusalReason.ORDER_USED)
        new = StaffOrder(
            id=part.order_id,
            action=str(part.action),
            subject=subject,
            actor=part.actor,
            body="",
            signature="",
            certificate="",
            factor=row.factor,
            source=row.source,
            part_of=row.id,
            received_at=utc(now),
            state=OrderState.RECEIVED,
            mac="",
        )
        self._insert(session, new)
        return part

    def load_used(self, session: Session, order_id: str, action: Action, subject: str) -> Order | None:
        """Return an order that was used, verified again; None when there is none. Raises UnusableOrderError."""
        row = session.get(StaffOrder, order_id)
        if row is None or (row.state, row.action, row.subject) != (OrderState.USED, action, subject):
            return None
        return self._verified(session, row)

    def keep_output(self, session: Session, order_id: str, output: str) -> None:
        """Keep what a used order has done, as JSON: its repeat gets the same answer."""
        kept = session.connection().execute(
            update(StaffOrder)
            .where(col(StaffOrder.id) == order_id, col(StaffOrder.state) == OrderState.USED)
            .values(output=output)
        )
        assert kept.rowcount == 1, "only a used order has an output"

    def find_output(self, session: Session, order_id: str) -> str:
        """Return what a used order has done, as JSON; empty: it was not used, or nothing is kept any more."""
        row = session.get(StaffOrder, order_id)
        if row is None or not row.output or end_of(session, order_id, "") is not OrderState.USED:
            return ""
        return row.output

    def has_right_code(self, row: StaffOrder) -> bool:
        """Return whether the row of an order is as it was when it was received."""
        return self._proofs.has_right_code(row)

    def refuse(self, session: Session, order_id: str, why: str, now: float) -> None:
        """End an order that was not used, so that it can't be used later."""
        ended = session.connection().execute(
            update(StaffOrder)
            .where(
                col(StaffOrder.id) == order_id,
                col(StaffOrder.state).in_([OrderState.RECEIVED, OrderState.WAITING]),
            )
            .values(state=OrderState.REFUSED, ended_at=utc(now), refusal=why[:300], private="")
        )
        if ended.rowcount:
            row = session.get_one(StaffOrder, order_id)
            record_refusal(session, row.actor, row.subject, why, order_id=order_id, now=now, was_received=True)

    def _read(self, body: bytes) -> Order:
        try:
            order = Order.from_bytes(body)
        except InvalidOrderError as error:
            raise UnusableOrderError(str(error), RefusalReason.ORDER_INVALID) from None
        if order.installation != self._installation:
            raise RefusedSignatureError("the order is for another installation")
        return order

    def _insert(self, session: Session, row: StaffOrder) -> None:
        session.connection().execute(insert(StaffOrder), {**row.model_dump(), "mac": self._proofs.code_of(row)})

    def _repeat(self, session: Session, row: StaffOrder, body: bytes) -> Receipt:
        if row.body.encode() != body:
            raise RefusedSignatureError("another order has this id")
        order = self._verified(session, row)
        if row.state not in STATE_TEXTS:  # written by SQL
            raise UnusableOrderError(not_received(row), RefusalReason.ORDER_USED)
        return Receipt(order, OrderState(row.state))

    def _verified(self, session: Session, row: StaffOrder) -> Order:
        """Return what was ordered, if the row is the one that was received and its proof is right."""
        return self._verify(session, row).order

    def _verify(self, session: Session, row: StaffOrder) -> Verified:
        if not self.has_right_code(row):
            raise UnusableOrderError(
                "the staff order of this id was not received by this system, or was changed",
                RefusalReason.ORDER_UNPROVEN,
            )
        if row.part_of:
            whole = _find(session, row.part_of)
            if whole.part_of:
                raise UnusableOrderError("the staff order of this id is part of a part", RefusalReason.ORDER_MISMATCH)
            verified = self._verify(session, whole)
            return Verified(row, _part_of(verified.order, row.subject), verified)
        body = row.body.encode()
        order = self._read(body)
        if (order.order_id, order.action, order.subject, order.actor) != (row.id, row.action, row.subject, row.actor):
            raise UnusableOrderError("the staff order of this id is about something else", RefusalReason.ORDER_MISMATCH)
        with _not_allowed():
            self._proofs.verify(session, row, order, body)
        return Verified(row, order)

    def _check_authority(self, session: Session, verified: Verified) -> float:
        """Return since when the order can be used: Unix seconds of its receipt or approval; of a part, of the whole's.

        Raises RefusedSignatureError unless the person may order this now.
        """
        row, order = verified.row, verified.order
        if row.factor != BREAK_GLASS:
            with _not_allowed():
                self._proofs.require_active(session, order.actor, required_role(order.action, order.fields))
            if order.action in self._four_eyes:
                return self.approvals.require(session, order)
        if verified.whole is None:
            return row.received_at.timestamp()
        return self._check_authority(session, verified.whole)


def _find(session: Session, order_id: str) -> StaffOrder:
    row = session.get(StaffOrder, order_id)
    if row is None:
        raise UnusableOrderError("there is no staff order of this id", RefusalReason.ORDER_MISSING)
    return row


def _part_of(order: Order, subject: str) -> Order:
    try:
        return order.part(subject)
    except InvalidOrderError as error:
        raise UnusableOrderError(str(error), RefusalReason.ORDER_MISMATCH) from None


@contextmanager
def _not_allowed() -> Iterator[None]:
    """Raise a refused certificate or person as an order that can't be used any more."""
    try:
        yield
    except RefusedSignatureError as error:
        raise UnusableOrderError(str(error), RefusalReason.ORDER_NOT_ALLOWED) from None
