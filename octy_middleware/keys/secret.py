"""Key pairs: creation, checksums, digests and verification of secrets, by one passlib CryptContext.

A secret is 256 random bits, so a slow password hash would protect nothing; it is stored as keyed BLAKE2b-256
(RFC 7693) under a pepper that is not in the database: `$octy-b2$<pepper id>$<64 hex digits>`. The digest covers the
pair's id and public key as well, so one that is copied to another row verifies nothing.

Imported secrets may carry other systems' hashes (`imported_hashes`); the context verifies them. Such a hash is stored
with a MAC over the pair's id, its public key and the hash, made at the import under the same pepper:
`$octy-import$<pepper id>$<64 hex digits>$<hash>`. What was written or copied by anybody without the pepper is refused.
"""

import re
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from importlib import metadata
from typing import Any, ClassVar

from passlib.context import CryptContext
from passlib.utils import handlers

from octy_middleware.clock import RandomBytes
from octy_middleware.errors import ConfigurationError, InvalidInputError
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.hash_formats import ImportedHash
from octy_middleware.keys.imported_hashes import IMPORTED_SCHEMES, is_verifiable, parse_imported_hash, verify_imported
from octy_middleware.keys.keychain import Keychain

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_LENGTH = 6  # 62**6 > 2**32
_PUBLIC_BYTES, _PUBLIC_LENGTH = 16, 22
_SECRET_BYTES, _SECRET_LENGTH = 32, 43
_DIGEST_PREFIX = "$octy-b2$"
_SEAL_PREFIX = "$octy-import$"
_DIGEST = re.compile(r"\$octy-b2\$([a-z0-9]{1,16})\$([0-9a-f]{64})")
_SEALED = re.compile(r"\$octy-import\$([a-z0-9]{1,16})\$([0-9a-f]{64})\$(.*)", re.DOTALL)


VerifySlowHash = Callable[[CryptContext, str, str], bool]


@dataclass(frozen=True, slots=True)
class NewKeyPair:
    """A new key pair: the only object with both the public key and the secret."""

    public_key: str
    secret: Secret


def make_key_pair(random_bytes: RandomBytes = secrets.token_bytes) -> NewKeyPair:
    """Return a new key pair: `pk_` with 128 and `sk_` with 256 random bits, each with its checksum."""
    return NewKeyPair(
        public_key=_with_checksum("pk_" + _base62(int.from_bytes(random_bytes(_PUBLIC_BYTES)), _PUBLIC_LENGTH)),
        secret=Secret(_with_checksum("sk_" + _base62(int.from_bytes(random_bytes(_SECRET_BYTES)), _SECRET_LENGTH))),
    )


def has_valid_checksum(key: str) -> bool:
    """Return whether a key has the new format and a valid checksum. Old formats have none: False."""
    body_length = {"pk_": _PUBLIC_LENGTH, "sk_": _SECRET_LENGTH}.get(key[:3])
    if body_length is None or len(key) != len("pk_") + body_length + _CHECK_LENGTH:
        return False
    return key.isascii() and _with_checksum(key[:-_CHECK_LENGTH]) == key


def _with_checksum(text: str) -> str:
    return text + _base62(zlib.crc32(text.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def check_imported(stored: str) -> ImportedHash:
    """Return the stored form of a hash. Raises InvalidInputError, whose text never contains the hash."""
    if stored.strip().startswith(_DIGEST_PREFIX):
        raise InvalidInputError(
            "an $octy-b2$ digest belongs to its row of its own database → give these customers new keys, "
            "or move the whole database"
        )
    return parse_imported_hash(stored)


def row_binding(pair_id: str, public_key: str) -> bytes:
    """Return the bytes that bind a digest to its row. Neither part can contain the NUL that ends it."""
    return f"{pair_id.replace('-', '')}\0{public_key}\0".encode()


def imported_hash(stored: str) -> str:
    """Return the hash inside a sealed one; any other text unchanged."""
    match = _SEALED.fullmatch(stored)
    return stored if match is None else match[3]


class KeyHasher:
    """Digests and verifies secrets. Fast for our own digests, by passlib for imported hashes."""

    def __init__(self, peppers: Keychain, *, verify_slow_hash: VerifySlowHash = verify_imported) -> None:
        """`verify_slow_hash` computes imported hashes, which takes long."""
        reject_passlib_beside_libpass()
        self._states = {
            key_id: blake2b(key=key, digest_size=32, person=b"octy-secret") for key_id, key in peppers.items()
        }
        self._seals = {
            key_id: blake2b(key=key, digest_size=32, person=b"octy-import") for key_id, key in peppers.items()
        }
        self._newest = peppers.newest[0]
        self._verify_slow_hash = verify_slow_hash
        self._hash_state = blake2b(key=peppers.newest[1], digest_size=12, person=b"octy-key-hash")
        self.context = CryptContext(
            schemes=[_passlib_handler(self._digest, self._newest), *IMPORTED_SCHEMES],
            default="octy_b2",
            deprecated="auto",
        )
        self.decoy_digest = self.digest(Secret(""), b"")  # used if there is no digest; bound to no row

    def __repr__(self) -> str:
        return f"KeyHasher({', '.join(self._states)})"

    def digest(self, secret: Secret, row: bytes) -> str:
        """Return the stored form under the newest pepper, bound to a row by `row_binding`."""
        return str(self.context.hash(secret.reveal(), row=row))

    def seal(self, imported: str, row: bytes) -> str:
        """Return the stored form of an imported hash, bound to a row by `row_binding`."""
        return f"{_SEAL_PREFIX}{self._newest}${self._seal(imported, row, self._newest)}${imported}"

    def verify(self, secret: Secret, stored: str | None, row: bytes) -> bool:
        """Return whether `secret` has this digest in this row. None (an unknown key) does the same work and is False.

        Raises MemoryError if there is not enough memory for an imported hash.
        """
        text = secret.reveal()
        known = stored if stored is not None else self.decoy_digest
        if known.startswith(_DIGEST_PREFIX):
            pepper_id, _, digest = known[len(_DIGEST_PREFIX) :].partition("$")
            computed = self._digest(text, pepper_id, row)
            fits = compare_digest(computed.encode(), digest.encode()) and computed != ""
        else:
            fits = self.is_sealed(known, row) and verify_imported(self.context, text, imported_hash(known))
        return fits and stored is not None

    def verify_imported(self, secret: Secret, sealed: str) -> bool:
        """Return whether a secret matches a hash that `is_sealed` has checked, or the decoy hash of another key.

        Raises MemoryError if there is not enough memory for it.
        """
        return self._verify_slow_hash(self.context, secret.reveal(), imported_hash(sealed))

    def is_sealed(self, stored: str, row: bytes) -> bool:
        """Return whether this is an imported hash, unchanged since its import into this row."""
        match = _SEALED.fullmatch(stored)
        if match is None or match[1] not in self._seals:
            return False
        return compare_digest(self._seal(match[3], row, match[1]), match[2])

    def can_verify(self, stored: str, row: bytes) -> bool:
        """Return whether this host can verify the digest; if not, even the right secret would look wrong.

        It needs the pepper, and for an imported hash its library. A damaged digest of ours cannot be verified. A hash
        with a wrong seal can: no secret matches it.
        """
        if self.is_fast(stored):
            match = _DIGEST.fullmatch(stored)
            return match is not None and match[1] in self._states
        sealed = _SEALED.fullmatch(stored)
        if sealed is not None and sealed[1] not in self._seals:
            return False
        return not self.is_sealed(stored, row) or is_verifiable(imported_hash(stored))

    def is_forged(self, stored: str, row: bytes) -> bool:
        """Return whether this hash was written, changed or copied here other than by an import."""
        if self.is_fast(stored):
            return False  # a changed digest of ours cannot be told from a valid one
        sealed = _SEALED.fullmatch(stored)
        return sealed is None or (sealed[1] in self._seals and not self.is_sealed(stored, row))

    def pepper_of(self, stored: str) -> str:
        """Return the id of the pepper that a digest of ours, or the seal of an imported hash, was made with."""
        return stored.removeprefix(_DIGEST_PREFIX).removeprefix(_SEAL_PREFIX).partition("$")[0]

    def is_fast(self, stored: str) -> bool:
        """Return whether verification takes a microsecond; imported ones take up to hundreds of milliseconds."""
        return stored.startswith(_DIGEST_PREFIX)

    def needs_upgrade(self, stored: str) -> bool:
        """Return whether the next success should store a new digest: for an imported hash or an old pepper."""
        return not stored.startswith(f"{_DIGEST_PREFIX}{self._newest}$")

    def key_hash(self, public_key: str) -> str:
        """Return 24 hex digits that identify an unknown key in records; its text is never stored."""
        state = self._hash_state.copy()
        state.update(public_key.encode())
        return state.hexdigest()

    def _digest(self, secret: str, pepper_id: str, row: bytes) -> str:
        state = self._states.get(pepper_id)
        if state is None:
            return ""  # the pepper was removed: no secret matches
        state = state.copy()
        state.update(row + secret.encode())
        return state.hexdigest()

    def _seal(self, imported: str, row: bytes, pepper_id: str) -> str:
        state = self._seals[pepper_id].copy()
        state.update(row + imported.encode("utf-8", "surrogatepass"))
        return state.hexdigest()


def _passlib_handler(digest: Callable[[str, str, bytes], str], newest: str) -> type[handlers.GenericHandler]:
    """Return the passlib handler of `$octy-b2$`; a class, because a CryptContext takes classes, per set of peppers."""

    class OctyB2(handlers.GenericHandler):  # type: ignore[misc]
        name = "octy_b2"
        setting_kwds: ClassVar[tuple[str, ...]] = ()
        context_kwds: ClassVar[tuple[str, ...]] = ("row",)
        checksum_size = 64
        checksum_chars = handlers.LOWER_HEX_CHARS

        def __init__(self, pepper: str = newest, row: bytes = b"", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.pepper = pepper
            self.row = row

        @classmethod
        def identify(cls, hash: str | bytes) -> bool:  # noqa: A002  # passlib's own argument name
            text = hash.decode("ascii", "replace") if isinstance(hash, bytes) else hash
            return _DIGEST.fullmatch(text) is not None

        @classmethod
        def from_string(cls, hash: str | bytes, **context: Any) -> "OctyB2":  # noqa: A002
            text = hash.decode("ascii", "replace") if isinstance(hash, bytes) else hash
            pepper, checksum = text.removeprefix(_DIGEST_PREFIX).split("$")
            return cls(pepper=pepper, checksum=checksum, **context)

        def to_string(self) -> str:
            return f"{_DIGEST_PREFIX}{self.pepper}${self.checksum}"

        def _calc_checksum(self, secret: str | bytes) -> str:
            return digest(secret.decode() if isinstance(secret, bytes) else secret, self.pepper, self.row)

        def _calc_needs_update(self, **_kwargs: Any) -> bool:
            return self.pepper != newest

    return OctyB2


def reject_passlib_beside_libpass() -> None:
    """Raise ConfigurationError when `passlib` is installed too: it overwrites libpass's files silently (T18)."""
    try:
        metadata.distribution("passlib")
    except metadata.PackageNotFoundError:
        return
    raise ConfigurationError(
        "the packages passlib and libpass are both installed and overwrite each other: "
        "run `pip uninstall passlib libpass` and then `pip install libpass`"
    )
