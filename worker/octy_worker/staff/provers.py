"""How a command proves its orders: by an SSH signature with a second factor, as break glass, or not at all."""

from collections.abc import Callable
from typing import Protocol

from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass, Evidence, Proof, Unproven
from octy_worker.crypto.ssh_signatures import claims_verified_user
from octy_worker.crypto.ssh_signer import Signer


class Prover(Protocol):
    """Proves orders of one person."""

    @property
    def actor(self) -> str:
        """The person's handle."""

    def prove(self, body: bytes) -> Proof:
        """Return the proof of an order. Raises CommandError."""


class UnsignedActor:
    """Somebody whose orders are not signed, and who says so.

    `proof`: `Unproven` for anybody, while OCTY_STAFF_AUTH is off; `BreakGlass` for the operator on the host in an
    emergency, whom access to OCTY_STAFF_KEYS proves.
    """

    def __init__(self, actor: str, proof: Unproven | BreakGlass) -> None:
        self.actor = actor
        self._proof = proof

    def prove(self, body: bytes) -> Proof:  # noqa: ARG002
        """Return this proof."""
        return self._proof


class CertifiedSigner:
    """A staff member with a certificate. `ask_code` returns a one-time password, unless the key verifies its user."""

    def __init__(self, signer: Signer, actor: str, ask_code: Callable[[], str]) -> None:
        self._signer = signer
        self._ask_code = ask_code
        self.actor = actor

    def prove(self, body: bytes) -> Evidence:
        """Sign the order on this machine."""
        signature = self._signer.sign(body, Order.from_bytes(body).namespace)
        return Evidence(signature, "" if claims_verified_user(signature) else self._ask_code())
