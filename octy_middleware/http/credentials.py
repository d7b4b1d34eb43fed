"""Strict parser of the Authorization header: returns `Credentials`, or the `Outcome` of the request. Never raises.

The checks in their order (RFC 9110 5.5 and 11.4, RFC 7617 2, RFC 4648 3.5):

    no value, or an empty one                                      MISSING    401
    more than one value, equal or not                              AMBIGUOUS  400
    longer than the limit                                          OVERSIZE   431
    control characters; a comma that joins credentials             AMBIGUOUS  400
    not "Basic", one or more spaces, canonical padded base64       MALFORMED  401
    decoded: not UTF-8, such as the token of another service       MALFORMED  401
    decoded: control characters                                    AMBIGUOUS  400
    decoded: not <public key>:<secret>                             MALFORMED  401

The result depends on the header's text alone, so the difference between MALFORMED and an unknown key does not show
which keys exist.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from octy_middleware.http.outcome import Outcome

# Every shape that Octy issued (8-4-4-4-10 groups, 64 hex digits) or issues (28 Base62), with room for
# imports. What does not match cannot be a stored key: it never reaches the database, the streaks or a log.
_PUBLIC_KEY = r"pk_[0-9A-Za-z-]{8,80}"
_CONTROL = r"\x00-\x1f\x7f-\x9f"  # RFC 7617 2 forbids the ASCII ones, the tab too; C1 controls terminals as well

_is_public_key = re.compile(_PUBLIC_KEY).fullmatch
# The first colon ends the key; the secret may contain more (RFC 7617 2).
_match_pair = re.compile(rf"({_PUBLIC_KEY}):([^{_CONTROL}]*)").fullmatch
_find_control = re.compile(rf"[{_CONTROL}]").search
_find_header_control = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search  # a tab is legal in a field value

# WSGI servers join repeated headers with a comma, which no Basic token contains. Commas of other
# schemes (Digest a="b", c="d") are not ambiguous, unless a Basic credential follows.
_find_joined = re.compile(rb"\A[^ ]*,|\Abasic\b.*,|,[ \t]*basic\b", re.IGNORECASE | re.DOTALL).search


class Secret:
    """A secret key as text that is not shown by accident (ASVS 16.2.5).

    `repr`, `str` and formatting hide it; pickling and copying raise TypeError; equality is identity, because secrets
    are compared by their digests only.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Search for this name to find every use."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled or copied")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a well-formed header; the secret may be empty. `schemeless`: sent without "Basic"."""

    public_key: str
    secret: Secret
    schemeless: bool = False


def is_public_key(text: str) -> bool:
    """Return whether a text has the form of a public key. Anything else cannot authenticate; do not import it."""
    return _is_public_key(text) is not None


def parse_credentials(values: Sequence[bytes], *, schemeless: bool, limit: int = 1024) -> Credentials | Outcome:
    """Parse all Authorization values of a request, as raw bytes. Never raises.

    With `schemeless`, base64(pk:sk) without "Basic" is accepted too, as Octy's Go clients send it. `limit`: bytes.
    """
    if len(values) != 1:
        return Outcome.AMBIGUOUS if values else Outcome.MISSING
    if len(values[0]) > limit:
        return Outcome.OVERSIZE
    value = values[0].strip(b" \t")  # not part of the value (RFC 9110 5.5), but not every server removes it
    scheme, _, token = value.rpartition(b" ")
    if scheme.rstrip(b" ").lower() == b"basic" or (schemeless and not scheme):
        decoded = _decode(token)
        if decoded:
            return _parse_key_pair(decoded, schemeless=not scheme)
    return _classify(value)


def _decode(token: bytes) -> bytes | None:
    """Decode the canonical form only: standard alphabet, padding, zero trailing bits."""
    try:
        decoded = binascii.a2b_base64(token, strict_mode=True)
    except binascii.Error:
        return None
    # Strict mode accepts non-zero trailing bits (RFC 4648 3.5), which would be several texts for one key pair.
    return decoded if binascii.b2a_base64(decoded, newline=False) == token else None


def _parse_key_pair(decoded: bytes, *, schemeless: bool) -> Credentials | Outcome:
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        return Outcome.MALFORMED
    pair = _match_pair(text)
    if pair is not None:
        return Credentials(pair[1], Secret(pair[2]), schemeless)
    return Outcome.AMBIGUOUS if _find_control(text) else Outcome.MALFORMED


def _classify(value: bytes) -> Outcome:
    if not value:
        return Outcome.MISSING
    if _find_header_control(value) or _find_joined(value):
        return Outcome.AMBIGUOUS
    return Outcome.MALFORMED
