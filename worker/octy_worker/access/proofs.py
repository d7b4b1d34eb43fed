"""How an order is proven: by a signature with a certificate and a second factor, by a passkey, or by break glass.

A new order is judged once, at its receipt. At its use the same proof is verified again, also against what was revoked
or removed since.
"""

from dataclasses import dataclass
from typing import assert_never

from sqlmodel import Session

from octy_middleware.db.models import StaffOrder
from octy_worker.access.members import Members
from octy_worker.access.order_states import BREAK_GLASS
from octy_worker.access.orders import Order
from octy_worker.access.passkey_orders import PasskeyEvidence, PasskeyOrders
from octy_worker.access.roles import Role, required_role
from octy_worker.access.row_macs import RowCodes, RowMacs
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    check_principal,
    check_source,
)
from octy_worker.crypto.ssh_signatures import CertifiedSignature, verify_signature

UNPROVEN = "none"
"""In place of a factor: OCTY_STAFF_AUTH=off. Only a worker that has the same setting uses such an order."""

_SEALED = (
    "id", "action", "subject", "actor", "body", "signature", "certificate", "factor", "source", "part_of",
    "received_at",
)  # fmt: skip


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
class Proven:
    """How a new order was proven: columns of its row. `serial`: of the certificate, for the audit log."""

    factor: str
    signature: str = ""
    certificate: str = ""
    serial: int = 0
    source: str = ""


class OrderProofs:
    """Judges how orders are proven, in the caller's transaction. `passkeys`: judges those that a passkey has signed."""

    def __init__(
        self,
        authorities: CertificateAuthorities,
        members: Members,
        macs: RowMacs,
        passkeys: PasskeyOrders | None = None,
    ) -> None:
        self._authorities = authorities
        self._members = members
        self._passkeys = passkeys or PasskeyOrders("", macs)
        self._codes = RowCodes(macs, "staff_order", _SEALED)

    def judge(self, session: Session, order: Order, body: bytes, proof: Proof | None, now: float) -> Proven:
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
            case unknown:  # pragma: no cover - every kind of proof has its case
                assert_never(unknown)

    def verify(self, session: Session, row: StaffOrder, order: Order, body: bytes) -> None:
        """Raise RefusedSignatureError unless what proves a received order is right; the row's code is."""
        if row.factor == BREAK_GLASS:
            return
        if row.certificate:
            self._verify_signature(order, body, row.signature, row.received_at.timestamp())
        else:
            member = self._members.require(session, order.actor)
            self._passkeys.verify_again(session, member, order, row.factor, row.signature)

    def require_active(self, session: Session, actor: str, role: Role) -> None:
        """Raise RefusedSignatureError unless this person may act in this role now."""
        self._members.require_active(session, actor, role)

    def code_of(self, row: StaffOrder) -> str:
        """Return the code of a new row."""
        return self._codes.make(row)

    def has_right_code(self, row: StaffOrder) -> bool:
        """Return whether the row of an order is as it was when it was received."""
        return self._codes.is_right(row)

    def _judge_signature(self, session: Session, order: Order, body: bytes, evidence: Evidence, now: float) -> Proven:
        signed = self._verify_signature(order, body, evidence.signature, now)
        check_source(signed.certificate, evidence.source)
        member = self._members.require_active(session, order.actor, required_role(order.action, order.fields))
        factor = self._members.use_factor(session, member, signed, evidence.code, now)
        certificate = signed.certificate
        return Proven(factor, evidence.signature, certificate.text(), certificate.serial, evidence.source or "")

    def _verify_signature(self, order: Order, body: bytes, signature: str, at: float) -> CertifiedSignature:
        signed = verify_signature(signature, body, namespace=order.namespace, authorities=self._authorities, now=at)
        check_principal(signed.certificate, order.actor)
        return signed


class NoProofs:
    """Takes every order as proven: OCTY_STAFF_AUTH=off, for development on one machine. It needs no keys."""

    def judge(self, session: Session, order: Order, body: bytes, proof: Proof | None, now: float) -> Proven:  # noqa: ARG002
        """Raise RefusedSignatureError for the repeat of an order that was never received."""
        if proof is None:
            raise RefusedSignatureError("there is no order of this id yet")
        return Proven(UNPROVEN)

    def verify(self, session: Session, row: StaffOrder, order: Order, body: bytes) -> None:
        """Accept it."""

    def require_active(self, session: Session, actor: str, role: Role) -> None:
        """Accept everybody."""

    def code_of(self, row: StaffOrder) -> str:  # noqa: ARG002
        """Return no code."""
        return ""

    def has_right_code(self, row: StaffOrder) -> bool:  # noqa: ARG002
        """Return True, also for a row that was written by SQL."""
        return True
