"""Orders that a passkey has signed in a browser: judged at receipt, and again at use.

The challenge that was signed is the SHA-256 of the order's canonical bytes, so that one signature is for one order.
The row of such an order has the passkey's id as `factor`, the browser's answer as `signature`, and no certificate.
WebAuthn is imported when the first such order comes: most commands and workers need none.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sqlmodel import Session

from octy_worker.access.members import Member
from octy_worker.access.orders import Order
from octy_worker.access.row_macs import RowMacs
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

if TYPE_CHECKING:
    from octy_worker.access.passkey_factors import PasskeyFactors


@dataclass(frozen=True, slots=True)
class PasskeyEvidence:
    """What comes with an order that was signed in a browser. `answer`: JSON of an AuthenticationCredential."""

    answer: str
    source: str | None = None  # address of the browser


class PasskeyOrders:
    """Judges signatures of orders by passkeys of one relying party. `staff_url`: of the staff API."""

    def __init__(self, staff_url: str, macs: RowMacs) -> None:
        self._staff_url = staff_url
        self._macs = macs

    def use(self, session: Session, member: Member, order: Order, evidence: PasskeyEvidence) -> str:
        """Accept the signature of a new order; return the id of its factor. Raises RefusedSignatureError."""
        return self._passkeys.use(session, member, evidence.answer, challenge=challenge_of(order))

    def verify_again(self, session: Session, member: Member, order: Order, factor: str, answer: str) -> None:
        """Verify the signature of an order that was received. Raises RefusedSignatureError."""
        self._passkeys.verify_again(session, factor, member.id, answer, challenge=challenge_of(order))

    @cached_property
    def _passkeys(self) -> "PasskeyFactors":
        from octy_worker.access.passkey_factors import PasskeyFactors  # noqa: PLC0415  # 0.2 s
        from octy_worker.access.passkeys import RelyingParty  # noqa: PLC0415

        party = RelyingParty.of_url(self._staff_url, "")
        if party is None:
            raise RefusedSignatureError("passkeys need a host name in OCTY_STAFF_URL, and it is not set or an address")
        return PasskeyFactors(party, self._macs)


def challenge_of(order: Order) -> bytes:
    """Return what a passkey signs for an order: SHA-256 of its canonical bytes."""
    return bytes.fromhex(order.digest())
