"""What must come of a request, decided once more by hand, from the documents alone.

Here: slow and plain code that shares nothing with the middleware: `base64`, `unicodedata`, `ipaddress`, no regular
expressions. Where the documents leave room it gives more than one outcome. Not here: comparing (`lanes`, `books`).
"""

import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OPEN, ACCEPTED = "open", "accepted"
MISSING, MALFORMED, AMBIGUOUS, OVERSIZE = "missing", "malformed", "ambiguous", "oversize"
UNKNOWN, WRONG, RETIRED, RETIRED_WRONG = "unknown_key", "wrong_secret", "retired", "retired_wrong"
PLAIN, RATE_LIMITED = "plain_http", "rate_limited"
INVALID = frozenset({UNKNOWN, WRONG, RETIRED, RETIRED_WRONG})
ALL = (
    OPEN,
    ACCEPTED,
    MISSING,
    MALFORMED,
    AMBIGUOUS,
    OVERSIZE,
    UNKNOWN,
    WRONG,
    RETIRED,
    RETIRED_WRONG,
    PLAIN,
    RATE_LIMITED,
)

_CONTROLS = bytes({*range(32), 127} - {9})
_BODY = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")


@dataclass(frozen=True, slots=True)
class Site:
    """What an authenticator is set up to do, in the reference's own words."""

    trusted: tuple[str, ...]
    forwarded: bool = False
    schemeless: bool = True
    limit: int = 1024
    optional: bool = False
    rate_limited: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """The outcomes that are right, and the pair that a readable header holds."""

    outcomes: frozenset[str]
    pair: tuple[str, str] | None = None


def read(values: Sequence[bytes], *, schemeless: bool, limit: int) -> tuple[str, str] | frozenset[str]:
    """Return the pair of a readable header, or the outcomes that are right for one that can't be read."""
    if len(values) != 1:
        return frozenset({AMBIGUOUS if values else MISSING})
    if len(values[0]) > limit:
        return frozenset({OVERSIZE})
    value = values[0].strip(b" \t")
    words = [word for word in value.split(b" ") if word]
    if len(words) == 2 and words[0].lower() == b"basic":
        decoded = _strictly(words[1])
    else:
        decoded = _strictly(words[0]) if schemeless and len(words) == 1 else b""
    return _pair(decoded) if decoded else frozenset(_unreadable(value))


def _strictly(token: bytes) -> bytes:
    """Decode canonical base64; nothing is what any other text decodes to."""
    try:
        decoded = b64decode(token, validate=True)
    except ValueError:
        return b""
    return decoded if b64encode(decoded) == token else b""


def _pair(decoded: bytes) -> tuple[str, str] | frozenset[str]:
    try:
        text = decoded.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return frozenset({MALFORMED})
    if not text.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in text):
        return frozenset({AMBIGUOUS})
    key, colon, secret = text.partition(":")
    if colon and key.startswith("pk_") and 8 <= len(key) - 3 <= 80 and _BODY.issuperset(key[3:]):
        return key, secret
    return frozenset({MALFORMED})


def _unreadable(value: bytes) -> set[str]:
    if not value:
        return {MISSING}
    if len(value.translate(None, _CONTROLS)) < len(value):
        return {AMBIGUOUS}
    if b"," not in value:
        return {MALFORMED}
    scheme, _, rest = value.partition(b" ")
    if b"," in scheme or scheme.lower() == b"basic":
        return {AMBIGUOUS}
    # Another scheme's commas are its own, unless Basic follows one; how close is for the code to say.
    return {AMBIGUOUS, MALFORMED} if b"basic" in rest.lower() or value.lower().startswith(b"basic") else {MALFORMED}


def judge(pair: tuple[str, str], secrets: Mapping[str, str], retired: str) -> str:
    """Return what the store's pairs make of a readable one."""
    public_key, secret = pair
    if public_key not in secrets:
        return UNKNOWN
    right = secrets[public_key] == secret
    if public_key == retired:
        return RETIRED if right else RETIRED_WRONG
    return ACCEPTED if right else WRONG


def is_exempt(method: str, path: str) -> bool:
    """Say so for the entries /health, /static/*, GET /v1/versions and OPTIONS *."""
    if path == "/health" or (path == "/v1/versions" and method in ("GET", "HEAD")):
        return True
    if not path.startswith("/static/") and method != "OPTIONS":
        return False
    plain = all(ord(letter) > 31 and letter not in "\\\x7f" for letter in path)
    first, *parts = path.split("/")
    return plain and first not in (".", "..") and "" not in parts[:-1] and "." not in parts and ".." not in parts


def prefers_problem(accept: bytes | None) -> bool | None:
    """Say so where nobody could doubt it, else None."""
    if accept is None or len(accept) > 512 or b"application/" not in accept.lower():
        return False
    return True if accept == b"application/problem+json" else None
