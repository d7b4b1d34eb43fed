"""Receives orders: judges each once, keeps what was ordered and how it was proven, and lets it be used once.

At receipt: signature, certificate, source address, second factor, freshness, role. At use, which may be an hour later:
that the row is the one that was received, what was signed, the present role, revocation, that it is unused, and that it
did not wait for longer than `ORDER_TTL`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from sqlalchemy import insert, update
from sqlmodel import Session, col

from octy_middleware.clock import to_micros, utc
from octy_middleware.db.models import StaffOrder
from octy_worker.access.approvals import Approvals
from octy_worker.access.members import Members
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
from octy_worker.access.passkey_orders import PasskeyEvidence, PasskeyOrders
from octy_worker.access.roles import Action, required_role
from octy_worker.access.row_macs import RowMacs
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    check_principal,
    check_source,
)
from octy_worker.crypto.ssh_signatures import CertifiedSignature, verify_signature
from octy_workflows.messages import RefusalReason

HARDWARE_KEY = "hardware-key"
"""The second factor of a FIDO token that verified its user."""
UNPROVEN = "none"
"""In place of a factor: OCTY_STAFF_AUTH=off. Only a worker that has the same setting uses such an order."""

_SEALED = ("id", "action", "subject", "actor", "body", "signature", "certificate", "factor", "source", "part_of")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What comes with a signed order. `code`: a one-time password; empty for a key that verifies its user."""

    signature: str
    code: str = ""
    source: str | None = None  # address of the client


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """The order comes from the operator on the host, in an emergency."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """The order needs no proof: OCTY_STAFF_AUTH=off."""


Proof = Evidence | PasskeyEvidence | BreakGlass | Unproven


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted order and how it was proven. `certificate_serial`: 0 without a certificate."""

    order: Order
    certificate_serial: int
    factor: str
    state: OrderState = OrderState.RECEIVED


@dataclass(frozen=True, slots=True)
class Proven:
    """How a new order was proven: columns of its row."""

    factor: str
    signature: str = ""
    certificate: str = ""
    serial: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """A row whose code and proof are right, and what was ordered. `whole`: of a part, the order of many acts."""

    row: StaffOrder
    order: Order
    whole: "Verified | None" = None


class OrderReceipts:
    """Receives and releases orders of one installation, in the caller's transaction.

    `passkeys`: judges orders that a passkey has signed. `four_eyes`: actions that wait for a second person.
    """

    def __init__(
        self,
        installation: str,
        authorities: CertificateAuthorities,
        members: Members,
        macs: RowMacs,
        *,
        passkeys: PasskeyOrders | None = None,
        four_eyes: Collection[Action] = (),
    ) -> None:
        self._installation = installation
        self._authorities = authorities
        self._members = members
        self._macs = macs
        self._passkeys = passkeys or PasskeyOrders("", macs)
        self._four_eyes = frozenset(four_eyes) - {Action.APPROVE}
        self.approvals = Approvals(members, self._verified)

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
        proven = self._judge(session, order, body, proof, now)
        waits = order.action in self._four_eyes and proven.factor not in {BREAK_GLASS, UNPROVEN}
        state = OrderState.WAITING if waits else OrderState.RECEIVED
        row = {
            "id": order.order_id,
            "action": str(order.action),
            "subject": order.subject,
            "actor": order.actor,
            "body": body.decode(),
            "signature": proven.signature,
            "certificate": proven.certificate,
            "factor": proven.factor,
            "source": proven.source,
            "part_of": "",
        }
        self._insert(session, row, state, now, private=private)
        detail = {"order": str(order.action), "reason": order.reason, "certificate": proven.serial}
        audit.append(
            session, RECEIVED, actor=order.actor, subject=order.subject, order_id=order.order_id,
            detail={**detail, "factor": proven.factor, "state": str(state)}, now=now,
        )  # fmt: skip
        return Receipt(order, proven.serial, proven.factor, state)

    def use(self, session: Session, order_id: str, action: Action, subject: str, *, by: str, now: float) -> Order:
        """Mark an order as used, by one conditional UPDATE, and return what was ordered. Raises UnusableOrderError.

        `by` names the call: when it is repeated because its answer was lost, it finds its own mark.
        """
        row = self._row_about(session, order_id, action, subject)
        verified = self._verify(session, row)
        order, since = verified.order, self._check_authority(session, verified)
        end = end_of(session, order_id, by)
        if end is not None:  # also where somebody has set the row's state back
            raise UnusableOrderError(f"the staff order of this id {STATE_TEXTS[end]}", RefusalReason.ORDER_USED)
        if row.state == OrderState.RECEIVED and now - since > ORDER_TTL:
            raise UnusableOrderError(_EXPIRED, RefusalReason.ORDER_EXPIRED)
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
        row = session.get(StaffOrder, order_id)
        if row is None:
            raise UnusableOrderError("there is no staff order of this id", RefusalReason.ORDER_MISSING)
        part = _part_of(self._verified(session, row), subject)
        if session.get(StaffOrder, part.order_id) is not None:
            return part
        if row.state != OrderState.USED:
            raise UnusableOrderError("the staff order of this id is not used yet", RefusalReason.ORDER_USED)
        empty = {"body": "", "signature": "", "certificate": ""}
        about = {"id": part.order_id, "action": str(part.action), "subject": subject, "actor": part.actor}
        proven = {"factor": row.factor, "source": row.source, "part_of": row.id}
        self._insert(session, {**about, **empty, **proven}, OrderState.RECEIVED, now)
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
        fields = {name: getattr(row, name) for name in _SEALED}
        return self._is_right(row.mac, {**fields, "received_at": to_micros(row.received_at.timestamp())})

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

    def _judge(self, session: Session, order: Order, body: bytes, proof: Proof | None, now: float) -> Proven:
        """Return how a new order is proven. Raises RefusedSignatureError."""
        match proof:
            case Evidence():
                return self._judge_signature(session, order, body, proof, now)
            case PasskeyEvidence():
                member = self._members.require_active(session, order.actor, required_role(order.action, order.fields))
                factor = self._passkeys.use(session, member, order, proof)
                return Proven(factor, proof.answer, source=proof.source or "")
            case BreakGlass():
                return Proven(BREAK_GLASS)
            case Unproven():
                raise RefusedSignatureError("an order needs a signature: OCTY_STAFF_AUTH is on")
            case None:
                raise RefusedSignatureError("there is no order of this id yet, and a new one needs a proof")
            case unknown:
                assert_never(unknown)

    def _judge_signature(self, session: Session, order: Order, body: bytes, evidence: Evidence, now: float) -> Proven:
        signed = self._verify_signature(order, body, evidence.signature, now)
        check_source(signed.certificate, evidence.source)
        member = self._members.require_active(session, order.actor, required_role(order.action, order.fields))
        if signed.user_verified:
            factor = HARDWARE_KEY
        elif evidence.code:
            factor = self._members.use_totp(session, member, evidence.code, now)
        else:
            raise RefusedSignatureError(
                "a second factor is missing: a one-time password, or a key that verifies its user"
            )
        certificate = signed.certificate
        return Proven(factor, evidence.signature, certificate.text(), certificate.serial, evidence.source or "")

    def _verify_signature(self, order: Order, body: bytes, signature: str, at: float) -> CertifiedSignature:
        signed = verify_signature(signature, body, namespace=order.namespace, authorities=self._authorities, now=at)
        check_principal(signed.certificate, order.actor)
        return signed

    def _insert(
        self, session: Session, row: dict[str, str], state: OrderState, now: float, *, private: str = ""
    ) -> None:
        mac = self._code_of(row, now)
        values = {**row, "received_at": utc(now), "state": state, "mac": mac, "private": private}
        session.connection().execute(insert(StaffOrder), values)

    def _code_of(self, row: dict[str, str], received_at: float) -> str:
        return self._macs.make("staff_order", {**row, "received_at": to_micros(received_at)})

    def _repeat(self, session: Session, row: StaffOrder, body: bytes) -> Receipt:
        if row.body.encode() != body:
            raise RefusedSignatureError("another order has this id")
        order = self._verified(session, row)
        serial = 0
        if row.certificate:
            signed = self._verify_signature(order, body, row.signature, row.received_at.timestamp())
            serial = signed.certificate.serial
        if row.state not in STATE_TEXTS:  # written by SQL
            raise UnusableOrderError(not_received(row), RefusalReason.ORDER_USED)
        return Receipt(order, serial, row.factor, OrderState(row.state))

    def _row_about(self, session: Session, order_id: str, action: Action, subject: str) -> StaffOrder:
        row = session.get(StaffOrder, order_id)
        if row is None:
            raise UnusableOrderError("there is no staff order of this id", RefusalReason.ORDER_MISSING)
        if (row.action, row.subject) != (action, subject):
            raise UnusableOrderError("the staff order of this id is about something else", RefusalReason.ORDER_MISMATCH)
        return row

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
            whole = session.get(StaffOrder, row.part_of)
            if whole is None or whole.part_of:
                raise UnusableOrderError("there is no staff order of this id", RefusalReason.ORDER_MISSING)
            verified = self._verify(session, whole)
            return Verified(row, _part_of(verified.order, row.subject), verified)
        body = row.body.encode()
        order = self._read(body)
        if (order.order_id, order.action, order.subject, order.actor) != (row.id, row.action, row.subject, row.actor):
            raise UnusableOrderError("the staff order of this id is about something else", RefusalReason.ORDER_MISMATCH)
        self._check_proof(session, row, order, body)
        return Verified(row, order)

    def _is_right(self, mac: str, fields: dict[str, str | int]) -> bool:
        return self._macs.is_right(mac, "staff_order", fields)

    def _check_proof(self, session: Session, row: StaffOrder, order: Order, body: bytes) -> None:
        """Raise RefusedSignatureError unless what proves the order is right; the row's code is."""
        if row.factor == BREAK_GLASS:
            return
        with _not_allowed():
            if row.certificate:
                self._verify_signature(order, body, row.signature, row.received_at.timestamp())
            else:
                member = self._members.require(session, order.actor)
                self._passkeys.verify_again(session, member, order, row.factor, row.signature)

    def _check_authority(self, session: Session, verified: Verified) -> float:
        """Return since when the order can be used: Unix seconds of its receipt or approval; of a part, of the whole's.

        Raises RefusedSignatureError unless the person may order this now.
        """
        row, order = verified.row, verified.order
        if row.factor != BREAK_GLASS:
            with _not_allowed():
                self._members.require_active(session, order.actor, required_role(order.action, order.fields))
            if order.action in self._four_eyes:
                return self.approvals.require(session, order)
        if verified.whole is None:
            return row.received_at.timestamp()
        return self._check_authority(session, verified.whole)


def _part_of(order: Order, subject: str) -> Order:
    try:
        return order.part(subject)
    except InvalidOrderError as error:
        raise UnusableOrderError(str(error), RefusalReason.ORDER_MISMATCH) from None


_EXPIRED = "the staff order of this id was received more than 24 hours ago and not used; order it again"


@contextmanager
def _not_allowed() -> Iterator[None]:
    """Raise a refused certificate or person as an order that can't be used any more."""
    try:
        yield
    except RefusedSignatureError as error:
        raise UnusableOrderError(str(error), RefusalReason.ORDER_NOT_ALLOWED) from None
