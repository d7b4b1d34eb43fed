"""PURE. Key pairs: made, checked for typing errors, digested and verified.

Here: the shapes of keys (CONTRACT), the stored form of a secret, and the one CryptContext that knows it. Not here:
where pairs are kept (`pairs`), who asks (`gate`).

A secret is 256 random bits, so a slow password hash would protect nothing; it is stored as keyed BLAKE2b-256
(RFC 7693) under a pepper that is not in the database: `$octy-b2$<pepper id>$<64 hex digits>`. Imported secrets may
carry other systems' hashes (`imported_hashes`); the context verifies them and says when to upgrade.
"""

import re
import secrets
import zlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from importlib import metadata
from typing import Any, ClassVar

from passlib.context import CryptContext
from passlib.utils import handlers

from octy_middleware.clock import RandomBytes
from octy_middleware.credentials import Secret
from octy_middleware.errors import ConfigurationError, InvalidInputError
from octy_middleware.imported_hashes import IMPORTED, ImportedHash, is_verifiable, read_imported, verify_imported
from octy_middleware.keychain import Keychain

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_LENGTH = 6  # 62**6 > 2**32
_PUBLIC_BYTES, _PUBLIC_LENGTH = 16, 22
_SECRET_BYTES, _SECRET_LENGTH = 32, 43
_DIGEST_PREFIX = "$octy-b2$"
_DIGEST = re.compile(r"\$octy-b2\$([a-z0-9]{1,16})\$([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class NewPair:
    """A pair as it is born: the only moment at which secret and public key stand side by side."""

    public_key: str
    secret: Secret


def make_pair(random_bytes: RandomBytes = secrets.token_bytes) -> NewPair:
    """Return a fresh pair: `pk_` with 128 and `sk_` with 256 random bits, each with its checksum."""
    return NewPair(
        public_key=_with_checksum("pk_" + _base62(int.from_bytes(random_bytes(_PUBLIC_BYTES)), _PUBLIC_LENGTH)),
        secret=Secret(_with_checksum("sk_" + _base62(int.from_bytes(random_bytes(_SECRET_BYTES)), _SECRET_LENGTH))),
    )


def has_valid_checksum(key: str) -> bool:
    """Tell offline whether a key of the new shape was typed right. Old shapes have no checksum: False."""
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


def check_imported(stored: str, peppers: Container[str] = ()) -> ImportedHash:
    """Return the form of a hash to store; one of ours needs its pepper's id among `peppers` and is of no kind.

    Raises InvalidInputError, which says what is wrong and never shows the hash.
    """
    if not stored.strip().startswith(_DIGEST_PREFIX):
        return read_imported(stored)
    match = _DIGEST.fullmatch(stored.strip())
    if match is None:
        raise InvalidInputError("the $octy-b2$ digest is damaged → export it again, whole")
    if match[1] not in peppers:
        raise InvalidInputError(f"OCTY_PEPPERS lacks the key {match[1]!r} of this digest → take it over as well")
    return ImportedHash(match[0], "")


class KeyHasher:
    """Digests and verifies secrets. Fast for our own digests, by passlib for imported hashes."""

    def __init__(self, peppers: Keychain) -> None:
        refuse_passlib_beside_libpass()
        self._states = {
            key_id: blake2b(key=key, digest_size=32, person=b"octy-secret") for key_id, key in peppers.items()
        }
        self._newest = peppers.newest[0]
        self._hash_state = blake2b(key=peppers.newest[1], digest_size=12, person=b"octy-key-hash")
        self.context = CryptContext(
            schemes=[_passlib_handler(self._digest, self._newest), *IMPORTED],
            default="octy_b2",
            deprecated="auto",
        )
        self.decoy = self.digest(Secret(""))  # what stands in where there is no digest

    def __repr__(self) -> str:
        return f"KeyHasher({', '.join(self._states)})"

    def digest(self, secret: Secret) -> str:
        """Return the stored form under the newest pepper."""
        return str(self.context.hash(secret.reveal()))

    def verify(self, secret: Secret, stored: str | None) -> bool:
        """Tell whether `secret` has this digest. None (an unknown key) does the same work and is False.

        Raises MemoryError when an imported hash needs more memory than there is now: then nobody knows.
        """
        text = secret.reveal()
        known = stored if stored is not None else self.decoy
        if known.startswith(_DIGEST_PREFIX):
            pepper_id, _, digest = known[len(_DIGEST_PREFIX) :].partition("$")
            computed = self._digest(text, pepper_id)
            fits = compare_digest(computed.encode(), digest.encode()) and computed != ""
        else:
            fits = verify_imported(self.context, text, known)
        return fits and stored is not None

    def can_judge(self, stored: str) -> bool:
        """Tell whether this host has what the digest needs: without, even the right secret looks wrong.

        That is its pepper, and for an imported hash its library; a damaged one can't be judged by anybody.
        """
        if not self.is_fast(stored):
            return is_verifiable(stored)
        match = _DIGEST.fullmatch(stored)
        return match is not None and match[1] in self._states

    def pepper_of(self, stored: str) -> str:
        """Return the id of the pepper that a digest of ours was made with."""
        return stored[len(_DIGEST_PREFIX) :].partition("$")[0]

    def is_fast(self, stored: str) -> bool:
        """Tell whether verifying takes under a microsecond; imported hashes take up to hundreds of milliseconds."""
        return stored.startswith(_DIGEST_PREFIX)

    def needs_upgrade(self, stored: str) -> bool:
        """Tell whether the next success should store a fresh digest: an imported hash or an old pepper."""
        return not stored.startswith(f"{_DIGEST_PREFIX}{self._newest}$")

    def key_hash(self, public_key: str) -> str:
        """Return 24 hex digits that stand for an unknown key in records; its text is never kept."""
        state = self._hash_state.copy()
        state.update(public_key.encode())
        return state.hexdigest()

    def _digest(self, secret: str, pepper_id: str) -> str:
        state = self._states.get(pepper_id)
        if state is None:
            return ""  # a pepper that was taken away verifies nothing
        state = state.copy()
        state.update(secret.encode())
        return state.hexdigest()


def _passlib_handler(digest: Callable[[str, str], str], newest: str) -> type[handlers.GenericHandler]:
    """Return the passlib handler of `$octy-b2$`; a class, because a CryptContext takes classes, per set of peppers."""

    class OctyB2(handlers.GenericHandler):  # type: ignore[misc]
        name = "octy_b2"
        setting_kwds: ClassVar[tuple[str, ...]] = ()
        checksum_size = 64
        checksum_chars = handlers.LOWER_HEX_CHARS

        def __init__(self, pepper: str = newest, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.pepper = pepper

        @classmethod
        def identify(cls, hash: str | bytes) -> bool:  # noqa: A002  # passlib's own argument name
            text = hash.decode("ascii", "replace") if isinstance(hash, bytes) else hash
            return _DIGEST.fullmatch(text) is not None

        @classmethod
        def from_string(cls, hash: str | bytes, **context: Any) -> "OctyB2":  # noqa: A002
            text = hash.decode("ascii", "replace") if isinstance(hash, bytes) else hash
            match = _DIGEST.fullmatch(text)
            if match is None:
                raise ValueError("not an $octy-b2$ digest")
            return cls(pepper=match[1], checksum=match[2], **context)

        def to_string(self) -> str:
            return f"{_DIGEST_PREFIX}{self.pepper}${self.checksum}"

        def _calc_checksum(self, secret: str | bytes) -> str:
            return digest(secret.decode() if isinstance(secret, bytes) else secret, self.pepper)

        def _calc_needs_update(self, **_kwargs: Any) -> bool:
            return self.pepper != newest

    return OctyB2


def refuse_passlib_beside_libpass() -> None:
    """Raise ConfigurationError when `passlib` is installed too: it overwrites libpass's files silently (T18)."""
    try:
        metadata.distribution("passlib")
    except metadata.PackageNotFoundError:
        return
    raise ConfigurationError(
        "the packages passlib and libpass are both installed and overwrite each other: "
        "run `pip uninstall passlib libpass` and then `pip install libpass`"
    )
