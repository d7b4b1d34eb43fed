"""Receives signed orders: judges each once, keeps what was signed, and lets it be used once.

At receipt: signature, certificate, source address, second factor, freshness, role. At use, which may be an hour later:
that the row is the one that was received, what was signed, the present role, revocation, and that it is unused.
"""

import json
from dataclasses import dataclass

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import to_micros, utc
from octy_middleware.db.models import AuditEntry, StaffOrder
from octy_worker.access.members import Members
from octy_worker.access.orders import InvalidOrderError, Namespace, Order
from octy_worker.access.roles import REQUIRED_ROLES, Action
from octy_worker.access.row_macs import RowMacs
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    check_principal,
    check_source,
)
from octy_worker.crypto.ssh_signatures import CertifiedSignature, verify_signature

HARDWARE_KEY = "hardware-key"
"""The second factor of a FIDO token that verified its user."""
RECEIVED, USED = "received", "used"
_SEALED = ("id", "action", "subject", "actor", "body", "signature", "certificate", "factor", "source")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What comes with an order. `code`: a one-time password; empty for a key that verifies its user."""

    signature: str
    code: str = ""
    source: str | None = None  # address of the client


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted order and how it was proven."""

    order: Order
    certificate_serial: int
    factor: str


class OrderReceipts:
    """Receives and releases orders of one installation, in the caller's transaction."""

    def __init__(self, installation: str, authorities: CertificateAuthorities, members: Members, macs: RowMacs) -> None:
        self._installation = installation
        self._authorities = authorities
        self._members = members
        self._macs = macs

    def receive(self, session: Session, body: bytes, evidence: Evidence, now: float) -> Receipt:
        """Judge an order and keep it. The same order again gives the same receipt. Raises RefusedSignatureError."""
        order = self._read(body)
        if not order.is_fresh(now):
            raise RefusedSignatureError("the order was signed more than 5 minutes ago, or the clocks differ")
        signed = self._verify(order, body, evidence.signature, now)
        check_source(signed.certificate, evidence.source)
        member = self._members.require_active(session, order.actor, REQUIRED_ROLES[order.action])
        there = session.get(StaffOrder, order.order_id)
        if there is not None:
            return self._repeat(there, order, body)
        if signed.user_verified:
            factor = HARDWARE_KEY
        elif evidence.code:
            factor = self._members.use_totp(session, member, evidence.code, now)
        else:
            raise RefusedSignatureError(
                "a second factor is missing: a one-time password, or a key that verifies its user"
            )
        row = {
            "id": order.order_id,
            "action": str(order.action),
            "subject": order.subject,
            "actor": order.actor,
            "body": body.decode(),
            "signature": evidence.signature,
            "certificate": signed.certificate.text(),
            "factor": factor,
            "source": evidence.source or "",
        }
        mac = self._macs.make("staff_order", {**row, "received_at": to_micros(now)})
        session.connection().execute(insert(StaffOrder).values(**row, received_at=utc(now), state=RECEIVED, mac=mac))
        proof = {"reason": order.reason, "certificate": signed.certificate.serial, "factor": factor}
        audit.append(
            session, "order.received", actor=order.actor, subject=order.subject, order_id=order.order_id,
            detail={"order": str(order.action), **proof}, now=now,
        )  # fmt: skip
        return Receipt(order, signed.certificate.serial, factor)

    def use(self, session: Session, order_id: str, action: Action, subject: str, *, by: str, now: float) -> Order:
        """Mark an order as used, by one conditional UPDATE, and return what was signed. Raises RefusedSignatureError.

        `by` names the call: when it is repeated because its answer was lost, it finds its own mark.
        """
        row = session.get(StaffOrder, order_id)
        if row is None:
            raise RefusedSignatureError("there is no staff order of this id")
        order = self._check_row(row)
        if (order.action, order.subject) != (action, subject):
            raise RefusedSignatureError("the staff order of this id is about something else")
        self._members.require_active(session, order.actor, REQUIRED_ROLES[action])
        if _was_used(session, order_id, by):  # also where somebody has set the row's state back
            raise RefusedSignatureError("the staff order of this id was used already")
        marked = session.connection().execute(
            update(StaffOrder)
            .where(col(StaffOrder.id) == order_id, col(StaffOrder.state) == RECEIVED)
            .values(state=USED, used_by=by, ended_at=utc(now))
        )
        if marked.rowcount != 1 and not (row.state == USED and row.used_by == by):
            raise RefusedSignatureError(f"the staff order of this id was {row.state} already")
        if marked.rowcount == 1:
            audit.append(
                session, "order.used", actor=order.actor, subject=subject, order_id=order_id, detail={"by": by}, now=now
            )
        return order

    def _read(self, body: bytes) -> Order:
        try:
            order = Order.from_bytes(body)
        except InvalidOrderError as error:
            raise RefusedSignatureError(str(error)) from None
        if order.installation != self._installation:
            raise RefusedSignatureError("the order is for another installation")
        return order

    def _verify(self, order: Order, body: bytes, signature: str, at: float) -> CertifiedSignature:
        signed = verify_signature(signature, body, namespace=Namespace.ORDER, authorities=self._authorities, now=at)
        check_principal(signed.certificate, order.actor)
        return signed

    def _repeat(self, row: StaffOrder, order: Order, body: bytes) -> Receipt:
        if row.body.encode() != body:
            raise RefusedSignatureError("another order has this id")
        self._check_row(row)
        signed = self._verify(order, body, row.signature, row.received_at.timestamp())
        return Receipt(order, signed.certificate.serial, row.factor)

    def _check_row(self, row: StaffOrder) -> Order:
        """Return what was signed, if the row is the one that was received and its signature is right."""
        fields = {name: getattr(row, name) for name in _SEALED}
        received_at = row.received_at.timestamp()
        if not self._macs.is_right(row.mac, "staff_order", {**fields, "received_at": to_micros(received_at)}):
            raise RefusedSignatureError("the staff order of this id was not received by this system, or was changed")
        body = row.body.encode()
        order = self._read(body)
        self._verify(order, body, row.signature, received_at)
        return order


def _was_used(session: Session, order_id: str, by: str) -> bool:
    """Return whether the audit log says that another call has used it."""
    query = select(AuditEntry.detail).where(AuditEntry.order_id == order_id, AuditEntry.action == "order.used")
    return any(detail is None or json.loads(detail) != {"by": by} for detail in session.exec(query))
