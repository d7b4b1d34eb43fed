"""Receipts of orders without any proof: OCTY_STAFF_AUTH=off."""

from sqlmodel import Session

from octy_middleware.db.models import StaffOrder
from octy_worker.access.orders import Order
from octy_worker.access.receipts import UNPROVEN, OrderReceipts, Proof, Proven, Verified
from octy_worker.crypto.ssh_certificates import RefusedSignatureError


class UnprovenReceipts(OrderReceipts):
    """Receives orders without any proof: OCTY_STAFF_AUTH=off, for development on one machine. Needs no keys."""

    def __init__(self, installation: str) -> None:
        self._installation = installation
        self._four_eyes = frozenset()

    def _judge(self, session: Session, order: Order, body: bytes, proof: Proof | None, now: float) -> Proven:  # noqa: ARG002
        if proof is None:
            raise RefusedSignatureError("there is no order of this id yet")
        return Proven(UNPROVEN)

    def _code_of(self, row: dict[str, str], received_at: float) -> str:  # noqa: ARG002
        return ""

    def _is_right(self, mac: str, fields: dict[str, str | int]) -> bool:  # noqa: ARG002
        return True

    def _check_proof(self, session: Session, row: StaffOrder, order: Order, body: bytes) -> None:
        """Nothing is proven."""

    def _check_authority(self, session: Session, verified: Verified) -> float:  # noqa: ARG002
        """Nobody is asked who they are."""
        return (verified.whole or verified).row.received_at.timestamp()
