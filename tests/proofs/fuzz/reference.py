"""What must come of a request, decided a second time by hand, from the documents alone.

Slow and plain code that shares nothing with the middleware and has no regular expressions. Where the documents leave
room, more than one outcome is right.
"""

import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from proofs.fuzz.keys import FuzzKeys, KeyPair
from proofs.fuzz.reference_address import ExpectedAddress, expected_address
from proofs.fuzz.request import FuzzRequest

OPEN, ACCEPTED = "open", "accepted"
MISSING, MALFORMED, AMBIGUOUS, OVERSIZE = "missing", "malformed", "ambiguous", "oversize"
UNKNOWN, WRONG, RETIRED, RETIRED_WRONG = "unknown_key", "wrong_secret", "retired", "retired_wrong"
PLAIN, RATE_LIMITED = "plain_http", "rate_limited"
UNREADABLE = (MISSING, MALFORMED, AMBIGUOUS, OVERSIZE)
INVALID = (UNKNOWN, WRONG, RETIRED, RETIRED_WRONG)
ALL = (OPEN, ACCEPTED, *UNREADABLE, *INVALID, PLAIN, RATE_LIMITED)

EXEMPT = ("/health", "/static/*", "GET /v1/versions", "OPTIONS *")
_CONTROLS = bytes({*range(32), 127} - {9})
_KEY_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of one authenticator that the reference must know."""

    trusted: tuple[str, ...]
    forwarded: bool = False
    schemeless: bool = True
    limit: int = 1024
    optional: bool = False
    rate_limited: bool = False


_PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48", "unix")
SETUPS = (
    Setup(_PROXIES),
    Setup(_PROXIES, forwarded=True, schemeless=False, limit=256, optional=True),
    Setup(_PROXIES[:1], rate_limited=True),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """The outcomes that are right, the key pair of a readable header, and where the request comes from."""

    outcomes: frozenset[str]
    pair: KeyPair | None
    address: ExpectedAddress


def expect(request: FuzzRequest, keys: FuzzKeys) -> Expected:
    """Return what must come of a request."""
    setup, address = SETUPS[request.setup], address_of(request)
    found = read_credentials(request.values, setup)
    if is_exempt(request.method, request.path):
        return Expected(frozenset({OPEN}), None, address)
    if isinstance(found, frozenset):
        pair, safe = None, frozenset({OPEN}) if setup.optional and found == {MISSING} else found
    else:
        pair, outcome = found, _outcome_of(found, keys)
        safe = frozenset({outcome, RATE_LIMITED} if setup.rate_limited and outcome in INVALID else {outcome})
    plain = frozenset({PLAIN})
    by_scheme = {"https": safe, "http": plain, "unknown": plain, None: safe | plain}
    return Expected(by_scheme[address.scheme], pair, address)


def address_of(request: FuzzRequest) -> ExpectedAddress:
    """Return where a request must be said to come from."""
    setup = SETUPS[request.setup]
    names = (b"forwarded",) if setup.forwarded else (b"x-forwarded-for", b"x-forwarded-proto")
    headers = tuple(b",".join(request.header(name)) for name in names)
    return expected_address(setup.trusted, request.peer, request.scheme, headers)


def read_credentials(values: Sequence[bytes], setup: Setup) -> KeyPair | frozenset[str]:
    """Return the key pair of a readable header, or the outcomes that are right for one that can't be read."""
    if len(values) != 1:
        return frozenset({AMBIGUOUS if values else MISSING})
    if len(values[0]) > setup.limit:
        return frozenset({OVERSIZE})
    value = values[0].strip(b" \t")
    words = [word for word in value.split(b" ") if word]
    if len(words) == 2 and words[0].lower() == b"basic":
        decoded = _decode(words[1])
    else:
        decoded = _decode(words[0]) if setup.schemeless and len(words) == 1 else b""
    return _read_pair(decoded) if decoded else frozenset(_unreadable(value))


def _decode(token: bytes) -> bytes:
    """Decode canonical base64; any other text is nothing."""
    try:
        decoded = b64decode(token, validate=True)
    except ValueError:
        return b""
    return decoded if b64encode(decoded) == token else b""


def _read_pair(decoded: bytes) -> KeyPair | frozenset[str]:
    try:
        text = decoded.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return frozenset({MALFORMED})
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        return frozenset({AMBIGUOUS})
    key, colon, secret = text.partition(":")
    if colon and key.startswith("pk_") and 8 <= len(key) - 3 <= 80 and _KEY_CHARACTERS.issuperset(key[3:]):
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
    # Commas of another scheme are its own, unless Basic follows one; the documents do not say how closely.
    return {AMBIGUOUS, MALFORMED} if b"basic" in rest.lower() or value.lower().startswith(b"basic") else {MALFORMED}


def _outcome_of(pair: KeyPair, keys: FuzzKeys) -> str:
    public_key, secret = pair
    if public_key not in keys.secrets:
        return UNKNOWN
    right = keys.secrets[public_key] == secret
    if public_key == keys.retired[0]:
        return RETIRED if right else RETIRED_WRONG
    return ACCEPTED if right else WRONG


def is_exempt(method: str, path: str) -> bool:
    """Whether the entries of EXEMPT cover a request."""
    if path == "/health" or (path == "/v1/versions" and method in ("GET", "HEAD")):
        return True
    if not path.startswith("/static/") and method != "OPTIONS":
        return False
    plain = all(ord(character) > 31 and character not in "\\\x7f" for character in path)
    first, *parts = path.split("/")
    return plain and first not in (".", "..") and "" not in parts[:-1] and "." not in parts and ".." not in parts


def prefers_problem(accept: bytes | None) -> bool | None:
    """Whether problem+json is preferred, where that is beyond doubt; else None."""
    if accept is None or len(accept) > 512 or b"application/" not in accept.lower():
        return False
    return True if accept == b"application/problem+json" else None
