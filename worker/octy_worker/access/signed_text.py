"""PURE. What a staff member signs to prove who they are, as canonical bytes: what log-ins and enrolments share.

The client builds a text, from values of its own. The server's URL as the client reached it is part of it: a server that
passes a text on to another one gains nothing.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Self, TypeVar

from octy_worker.access.orders import FRESHNESS, Namespace
from octy_worker.canonical_json import canonical_json
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    check_principal,
    check_source,
)
from octy_worker.crypto.ssh_signatures import CertifiedSignature, verify_signature
from octy_workflows.order_content import actor_error

_MAX_BYTES = 4096
_INSTALLATION = re.compile(r"[0-9a-f]{16}")


class InvalidTextError(ValueError):
    """The bytes are no text of this kind in canonical form."""


class UncertifiedError(RefusedSignatureError):
    """A text without a valid signature by certificate: anybody can have sent it."""


@dataclass(frozen=True, slots=True)
class SignedText:
    """Who proves it where. `server`: as `normalize_server` returns it; empty: on the installation's host.

    `issued_at`: Unix seconds. All other fields are texts.
    """

    what: ClassVar[str]
    namespace: ClassVar[Namespace]

    server: str
    installation: str
    handle: str
    issued_at: int

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises InvalidTextError for every other form, and nothing else."""
        try:
            text = cls(**json.loads(data)) if len(data) <= _MAX_BYTES else None
            if text is not None and _is_valid(text) and text.to_bytes() == data:
                return text
        except (ValueError, TypeError, RecursionError):
            pass
        raise InvalidTextError(f"it is no {cls.what} text in canonical form")

    def has_valid_form(self) -> bool:
        """Return whether the fields of this kind of text, which are texts, are valid."""
        return True


def _is_valid(text: SignedText) -> bool:
    texts = [getattr(text, each.name) for each in fields(text) if each.name != "issued_at"]
    return (
        all(isinstance(value, str) for value in texts)
        and type(text.issued_at) is int
        and _INSTALLATION.fullmatch(text.installation) is not None
        and actor_error(text.handle) is None
        and text.has_valid_form()
    )


Text = TypeVar("Text", bound=SignedText)


def judge_text(
    kind: type[Text], body: bytes, signature: str, *, source: str | None, authorities: CertificateAuthorities,
    server: str, installation: str, now: float,
) -> tuple[Text, CertifiedSignature]:  # fmt: skip
    """Return what was signed, and by whom; it needs no database. `source`: address of the client.

    Raises RefusedSignatureError; UncertifiedError when there is no valid signature by certificate.
    """
    try:
        signed = verify_signature(signature, body, namespace=kind.namespace, authorities=authorities, now=now)
    except RefusedSignatureError as error:
        raise UncertifiedError(str(error)) from None
    try:
        text = kind.from_bytes(body)
    except InvalidTextError as error:
        raise RefusedSignatureError(str(error)) from None
    if text.server != server:
        raise RefusedSignatureError(
            f"the {kind.what} is for {text.server or 'the host'}, and this is {server or 'the host'}"
        )
    if text.installation != installation:
        raise RefusedSignatureError(f"the {kind.what} is for another installation")
    if abs(now - text.issued_at) > FRESHNESS:
        raise RefusedSignatureError(f"the {kind.what} was signed more than 5 minutes ago, or the clocks differ")
    check_principal(signed.certificate, text.handle)
    check_source(signed.certificate, source)
    return text, signed
