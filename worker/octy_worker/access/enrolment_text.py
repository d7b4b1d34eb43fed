"""PURE. What a staff member signs to register a second factor.

It names the link by SHA-256 of its token, and the seed of a one-time password by its own SHA-256: the audit log can
keep the text and its signature as evidence, and the signature is good for this link and this seed alone.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.orders import Namespace
from octy_worker.access.signed_text import SignedText
from octy_worker.access.tokens import hash_of

_HASH = re.compile(r"[0-9a-f]{64}")
_KINDS = {FactorKind.TOTP, FactorKind.HARDWARE_KEY}  # a passkey is registered in a browser


@dataclass(frozen=True, slots=True)
class EnrolmentText(SignedText):
    """Who registers which factor by which link. `link`, `secret`: SHA-256 in hex.

    A hardware key has no seed (`secret` is that of an empty text): the key that signs is the one that is registered.
    """

    what: ClassVar[str] = "enrolment"
    namespace: ClassVar[Namespace] = Namespace.ENROLMENT

    link: str
    secret: str
    kind: str = FactorKind.TOTP

    @classmethod
    def make(
        cls,
        *,
        server: str,
        installation: str,
        handle: str,
        token: str,
        now: float,
        seed: str = "",
        kind: FactorKind = FactorKind.TOTP,
    ) -> "EnrolmentText":
        """Return the text for a link's token and a seed, or for the key that signs it."""
        return cls(server, installation, handle, int(now), hash_of(token), hash_of(seed), str(kind))

    def is_about(self, *, token: str, seed: str) -> bool:
        """Return whether it names this link and this seed."""
        return (self.link, self.secret) == (hash_of(token), hash_of(seed))

    def has_valid_form(self) -> bool:
        """Return whether kind and hashes are valid."""
        return self.kind in _KINDS and all(_HASH.fullmatch(value) for value in (self.link, self.secret))
