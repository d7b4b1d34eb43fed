"""PURE. What a staff member signs to register a second factor, as canonical bytes. The client builds it.

It names the link by SHA-256 of its token, and the seed of a one-time password by its own SHA-256: the audit log can
keep the text and its signature as evidence, and the signature is good for this link and this seed alone.
"""

import hashlib
import re
from dataclasses import dataclass

from octy_worker.access.factor_kinds import FactorKind
from octy_worker.canonical_json import canonical_json, read_canonical
from octy_workflows.order_content import actor_error

_MAX_BYTES = 4096
_INSTALLATION, _HASH = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")
_KINDS = {FactorKind.TOTP, FactorKind.HARDWARE_KEY}  # a passkey is registered in a browser


class InvalidEnrolmentError(ValueError):
    """The bytes are not an enrolment text in canonical form."""


@dataclass(frozen=True, slots=True)
class EnrolmentText:
    """Who registers which factor by which link. `link`, `secret`: SHA-256 in hex. `issued_at`: Unix seconds.

    A hardware key has no seed (`secret` is that of an empty text): the key that signs is the one that is registered.

    `server`: the staff API's URL as the client reached it, so that a server that passes an enrolment on to another one
    gains nothing; empty: on the installation's host.
    """

    server: str
    installation: str
    handle: str
    link: str
    secret: str
    issued_at: int
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
        return cls(server, installation, handle, sha256(token), sha256(seed), int(now), str(kind))

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return canonical_json({name: getattr(self, name) for name in self.__slots__})

    def is_about(self, *, token: str, seed: str) -> bool:
        """Return whether it names this link and this seed."""
        return (self.link, self.secret) == (sha256(token), sha256(seed))

    @classmethod
    def from_bytes(cls, data: bytes) -> "EnrolmentText":
        """Read canonical bytes. Raises InvalidEnrolmentError for every other form, and nothing else."""
        text = read_canonical(data, cls, _is_valid, max_bytes=_MAX_BYTES)
        if text is None:
            raise InvalidEnrolmentError("it is not an enrolment text in canonical form")
        return text


def sha256(text: str) -> str:
    """Return SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _is_valid(text: EnrolmentText) -> bool:
    texts = (text.server, text.installation, text.handle, text.link, text.secret, text.kind)
    return (
        all(isinstance(value, str) for value in texts)
        and type(text.issued_at) is int
        and text.kind in _KINDS
        and _INSTALLATION.fullmatch(text.installation) is not None
        and _HASH.fullmatch(text.link) is not None
        and _HASH.fullmatch(text.secret) is not None
        and actor_error(text.handle) is None
    )
