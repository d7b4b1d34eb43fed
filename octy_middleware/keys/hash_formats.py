"""Parses the hash formats of passlib, Django and Werkzeug, and translates them into passlib's own.

Damaged hashes, and those that would cost too much to verify, are rejected. A scrypt digest of 64 bytes is cut to its
first 32: scrypt ends with PBKDF2, whose blocks are independent (RFC 7914 6, RFC 8018 5.2). No error text contains the
hash or a part of it.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import NamedTuple

from passlib.utils.binary import ab64_encode, b64s_encode, bcrypt64

from octy_middleware.errors import InvalidInputError

_MIB = 2**20
_MAX_MEMORY = 1024 * _MIB
_MAX_ARGON2 = 4 * _MAX_MEMORY  # memory times passes: libsodium's "sensitive" is just taken
_MAX_LANES = 64
_MAX_BCRYPT = 16  # 2**16 rounds, four seconds
_MAX_PBKDF2 = 5_000_000
_MAX_SHA_CRYPT = 2_000_000  # rounds in pure Python, a second
_MIN_DIGEST = 16  # bytes
_MAX_SALT = 1024
_DIGEST_SIZES = {"sha1": 20, "sha256": 32, "sha512": 64}

_NUMBER = r"(0|[1-9][0-9]{0,9})"
_PHC = r"([A-Za-z0-9+/]+)"  # base64 without padding
_CRYPT = r"[./A-Za-z0-9]"
_SALT = r"([ -#%-~]{1,1024})"  # of Django and Werkzeug: printable, without $


class ImportedHash(NamedTuple):
    """A hash in its stored form, its passlib scheme, and its rough cost, which may be empty."""

    scheme: str
    cost: str
    stored: str

    @property
    def kind(self) -> str:
        """Scheme and cost, at most 32 characters. Hashes of one kind take one time."""
        return f"{self.scheme}-{self.cost}" if self.cost else self.scheme


def parse_hash(text: str) -> ImportedHash:
    """Return the hash in its stored form. Raises InvalidInputError with what is wrong."""
    for begins, read in _PARSERS:
        if begins.match(text):
            return read(text)
    for begins, name in _UNSUPPORTED:
        if begins.match(text):
            raise InvalidInputError(f"this is {name}, which is not taken → give these customers new keys")
    raise InvalidInputError(f"this is no hash that is known here → {_SUPPORTED}")


def reject_damaged(*, damaged: bool) -> None:
    """Raise InvalidInputError if `damaged`."""
    if damaged:
        raise InvalidInputError("the hash is damaged: it has not the form of its scheme → export it again, whole")


def _argon2(text: str) -> ImportedHash:
    costs = rf"m={_NUMBER},t={_NUMBER},p={_NUMBER}"
    match = _match(rf"(?:argon2)?(\$argon2(?:id|i|d))\$(?:v=(16|19)\$)?{costs}\${_PHC}\${_PHC}", text)
    memory, passes, lanes = int(match[3]), int(match[4]), int(match[5])
    _reject_cost(f"argon2 with more than {_MAX_MEMORY // _MIB} MiB of memory", absurd=memory * 1024 > _MAX_MEMORY)
    _reject_cost("argon2 with so many passes over its memory", absurd=memory * 1024 * passes > _MAX_ARGON2)
    _reject_cost(f"argon2 with more than {_MAX_LANES} lanes", absurd=lanes > _MAX_LANES)
    reject_damaged(damaged=passes < 1 or lanes < 1 or memory < 8 * lanes)  # RFC 9106 3.1
    salt, digest = _from_base64(match[6]), _from_base64(match[7])
    # RFC 9106 3.1 allows digests of any length; a truncated one is not a multiple of a word.
    reject_damaged(damaged=len(salt) < 8 or len(digest) < _MIN_DIGEST or len(digest) % 4 > 0)  # noqa: PLR2004
    version = "$v=19" if match[2] == "19" else ""
    stored = f"{match[1]}{version}$m={memory},t={passes},p={lanes}${match[6]}${match[7]}"
    return ImportedHash("argon2", f"{_magnitude(memory * passes)}-{lanes}", stored)


def _bcrypt(text: str) -> ImportedHash:
    match = _match(rf"(?:bcrypt\$)?(\$2[aby]\$)([0-9]{{2}})\$({_CRYPT}{{22}})({_CRYPT}{{31}})", text)
    cost = _bcrypt_cost(match[2])
    return ImportedHash(
        "bcrypt", str(cost), f"{match[1]}{match[2]}${_clear_unused_bits(match[3])}{_clear_unused_bits(match[4])}"
    )


def _django_bcrypt_sha256(text: str) -> ImportedHash:
    _, cost, stored = _bcrypt(text.removeprefix("bcrypt_sha256$"))
    return ImportedHash("django_bcrypt_sha256", cost, f"bcrypt_sha256${stored}")


def _bcrypt_sha256(text: str) -> ImportedHash:
    match = _match(rf"(\$bcrypt-sha256\$(?:v=2,t=2b,r=|2[ab],))([1-9]?[0-9])\$({_CRYPT}{{22}})\$({_CRYPT}{{31}})", text)
    cost = _bcrypt_cost(match[2])
    return ImportedHash(
        "bcrypt_sha256", str(cost), f"{match[1]}{cost}${_clear_unused_bits(match[3])}${_clear_unused_bits(match[4])}"
    )


def _bcrypt_cost(digits: str) -> int:
    cost = int(digits)
    reject_damaged(damaged=cost < 4)  # noqa: PLR2004  # the least there is
    _reject_cost(f"bcrypt with a cost over {_MAX_BCRYPT}", absurd=cost > _MAX_BCRYPT)
    return cost


def _clear_unused_bits(part: str) -> str:
    """Clear the unused bits of the last character; some libraries leave them set."""
    return str(bcrypt64.repair_unused(part))


def _scrypt(text: str) -> ImportedHash:
    match = _match(rf"\$scrypt\$ln={_NUMBER},r={_NUMBER},p={_NUMBER}\${_PHC}\${_PHC}", text)
    return _build_scrypt(int(match[1]), match[2], match[3], _from_base64(match[4]), _from_base64(match[5]))


def _django_scrypt(text: str) -> ImportedHash:
    match = _match(rf"scrypt\${_NUMBER}\${_SALT}\${_NUMBER}\${_NUMBER}\$([A-Za-z0-9+/]+=*)", text)
    return _build_scrypt(_log2(match[1]), match[3], match[4], match[2].encode(), _from_base64(match[5]))


def _werkzeug_scrypt(text: str) -> ImportedHash:
    match = _match(rf"scrypt:{_NUMBER}:{_NUMBER}:{_NUMBER}\${_SALT}\$([0-9a-f]+)", text)
    return _build_scrypt(_log2(match[1]), match[2], match[3], match[4].encode(), _from_hex(match[5]))


def _log2(digits: str) -> int:
    number = int(digits)
    reject_damaged(damaged=number.bit_count() != 1)
    return number.bit_length() - 1


def _build_scrypt(log: int, block: str, lanes: str, salt: bytes, digest: bytes) -> ImportedHash:
    size, parallel = int(block), int(lanes)
    reject_damaged(damaged=log < 1 or size < 1 or parallel < 1 or len(digest) < 32)  # noqa: PLR2004
    # The logarithm is checked first, so that two to the power of any number is never computed.
    _reject_cost("scrypt with ln over 20", absurd=log > 20)  # noqa: PLR2004
    memory = 128 * 2**log * size * parallel
    _reject_cost(f"scrypt with more than {_MAX_MEMORY // _MIB} MiB", absurd=memory > _MAX_MEMORY)
    reject_damaged(damaged=len(salt) > _MAX_SALT)
    stored = f"$scrypt$ln={log},r={size},p={parallel}${_phc(salt)}${_phc(digest[:32])}"
    return ImportedHash("scrypt", f"{log}-{size * parallel}", stored)


def _phc(data: bytes) -> str:
    return str(b64s_encode(data).decode("ascii"))


def _pbkdf2(text: str) -> ImportedHash:
    match = _match(rf"\$pbkdf2(?:-(sha1|sha256|sha512))?\${_NUMBER}\$([./A-Za-z0-9]+)\$([./A-Za-z0-9]+)", text)
    salt, digest = (_from_base64(part.replace(".", "+")) for part in match.group(3, 4))
    return _build_pbkdf2(match[1] or "sha1", match[2], salt, digest)


def _django_pbkdf2(text: str) -> ImportedHash:
    match = _match(rf"pbkdf2_(sha1|sha256)\${_NUMBER}\${_SALT}\$([A-Za-z0-9+/]+=*)", text)
    return _build_pbkdf2(match[1], match[2], match[3].encode(), _from_base64(match[4]))


def _werkzeug_pbkdf2(text: str) -> ImportedHash:
    match = _match(rf"pbkdf2:(sha1|sha256|sha512):{_NUMBER}\${_SALT}\$([0-9a-f]+)", text)
    return _build_pbkdf2(match[1], match[2], match[3].encode(), _from_hex(match[4]))


def _build_pbkdf2(name: str, digits: str, salt: bytes, digest: bytes) -> ImportedHash:
    rounds = int(digits)
    reject_damaged(damaged=rounds < 1 or len(digest) != _DIGEST_SIZES[name] or len(salt) > _MAX_SALT)
    _reject_cost(f"PBKDF2 with more than {_MAX_PBKDF2:,} rounds", absurd=rounds > _MAX_PBKDF2)
    ident = "$pbkdf2$" if name == "sha1" else f"$pbkdf2-{name}$"
    encoded = (str(ab64_encode(part).decode("ascii")) for part in (salt, digest))
    return ImportedHash(f"pbkdf2_{name}", _magnitude(rounds), ident + "$".join((str(rounds), *encoded)))


def _sha_crypt(text: str) -> ImportedHash:
    scheme, length = ("sha256_crypt", 43) if text.startswith("$5$") else ("sha512_crypt", 86)
    match = _match(rf"\$[56]\$(?:rounds={_NUMBER}\$)?{_CRYPT}{{1,16}}\${_CRYPT}{{{length}}}", text)
    rounds = int(match[1] or 5000)
    reject_damaged(damaged=rounds < 1000)  # noqa: PLR2004  # the least there is
    _reject_cost(f"SHA-crypt with more than {_MAX_SHA_CRYPT:,} rounds", absurd=rounds > _MAX_SHA_CRYPT)
    return ImportedHash(scheme, _magnitude(rounds), text)


def _plain_sha(text: str) -> ImportedHash:
    return ImportedHash({40: "hex_sha1", 64: "hex_sha256", 128: "hex_sha512"}[len(text)], "", text.lower())


_PARSERS: tuple[tuple[re.Pattern[str], Callable[[str], ImportedHash]], ...] = tuple(
    (re.compile(begins), read)
    for begins, read in (
        (r"(?:argon2)?\$argon2(?:id|i|d)\$", _argon2),
        (r"(?:bcrypt\$)?\$2[aby]\$", _bcrypt),
        (r"bcrypt_sha256\$(?!bcrypt)", _django_bcrypt_sha256),
        (r"\$bcrypt-sha256\$", _bcrypt_sha256),
        (r"\$scrypt\$", _scrypt),
        (r"scrypt\$", _django_scrypt),
        (r"scrypt:", _werkzeug_scrypt),
        (r"\$pbkdf2(?:-sha(?:1|256|512))?\$", _pbkdf2),
        (r"pbkdf2_sha(?:1|256)\$", _django_pbkdf2),
        (r"pbkdf2:sha(?:1|256|512):", _werkzeug_pbkdf2),
        (r"\$[56]\$", _sha_crypt),
        (r"(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})\Z", _plain_sha),
    )
)
_UNSUPPORTED = tuple(
    (re.compile(begins), name)
    for begins, name in (
        (r"\$(?:1|apr1)\$|md5\$|[0-9A-Fa-f]{32}\Z", "MD5"),
        (r"[0-9A-Fa-f]{56}\Z|[0-9A-Fa-f]{96}\Z", "SHA-224 or SHA-384"),
        (r"sha1\$|sha(?:256|512)\$|\{S?SHA", "a salted SHA of one round"),
        (r"\$2x?\$", "an old, faulty bcrypt"),
        (r"\$(?:7|y|gy)\$", "the crypt form of scrypt, or yescrypt"),
        (r"\$[PH]\$", "phpass"),
        (r"[!*]", "no hash but the mark of an account without a secret"),
    )
)
_SUPPORTED = "what is taken: argon2, bcrypt, scrypt, PBKDF2, SHA-crypt, and plain SHA-1, SHA-256 or SHA-512 in hex"


def _match(pattern: str, text: str) -> re.Match[str]:
    match = re.fullmatch(pattern, text, re.ASCII)
    reject_damaged(damaged=match is None)
    assert match is not None
    return match


def _from_base64(text: str) -> bytes:
    """Decode base64 with or without padding; any text but the canonical form counts as damaged."""
    bare = text.rstrip("=")
    try:
        data = b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        data = b""
    reject_damaged(damaged=binascii.b2a_base64(data, newline=False).rstrip(b"=") != bare.encode())
    return data


def _from_hex(text: str) -> bytes:
    reject_damaged(damaged=len(text) % 2 == 1)
    return bytes.fromhex(text)


def _magnitude(cost: int) -> str:
    """Return the power of two below the cost, so that hashes with slightly different rounds are of one kind."""
    return f"2^{max(cost, 1).bit_length() - 1}"


def _reject_cost(what: str, *, absurd: bool) -> None:
    if absurd:
        raise InvalidInputError(f"{what} would let anybody stop the host with wrong secrets → give new keys instead")
