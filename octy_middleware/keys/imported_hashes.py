"""PURE. Hashes that other systems made: which are taken, and how they are verified.

Here: the schemes, whether a hash is sound and its library installed, and verifying. Not here: how they are written
(`imported_forms`), our own digest (`keys`), rows and files (the worker's `imports`).
"""

from dataclasses import dataclass
from functools import cache

from passlib.context import CryptContext
from passlib.exc import MissingBackendError, PasslibSecurityError, PasswordValueError
from passlib.registry import get_crypt_handler

from octy_middleware.errors import InvalidInputError
from octy_middleware.keys.hash_formats import parse_hash, reject_damaged
from octy_middleware.keys.native_crypt import verify_sha_crypt

IMPORTED_SCHEMES = (
    "argon2",
    "bcrypt",
    "bcrypt_sha256",
    "django_bcrypt_sha256",
    "scrypt",
    "pbkdf2_sha1",
    "pbkdf2_sha256",
    "pbkdf2_sha512",
    "sha256_crypt",
    "sha512_crypt",
    "hex_sha1",
    "hex_sha256",
    "hex_sha512",
)
"""The passlib schemes that a CryptContext needs for them."""

_MAX_LENGTH = 2000  # characters; a salt of 1024 bytes fits
_BCRYPT_MAX_SECRET = 72  # bytes; what follows was never part of the hash, and bcrypt 5 raises where older ones cut


@dataclass(frozen=True, slots=True)
class ImportedHash:
    """A hash as it is stored. `kind`: scheme and rough cost, at most 32 characters; one kind takes about one time."""

    stored: str
    kind: str


def parse_imported_hash(text: str) -> ImportedHash:
    """Return the form to store. Raises InvalidInputError, which says what is wrong and never shows the hash."""
    if len(text) > _MAX_LENGTH:
        raise InvalidInputError("this is too long for a hash")
    scheme, cost, stored = parse_hash(text.strip())
    _require_library(scheme)
    reject_damaged(damaged=not _is_sound(scheme, stored))
    return ImportedHash(stored, f"{scheme}-{cost}" if cost else scheme)


def is_verifiable(stored: str) -> bool:
    """Tell whether this host can say if a secret fits: the hash is sound and its library is installed."""
    try:
        return parse_imported_hash(stored).stored == stored
    except InvalidInputError:
        return False


def verify_imported(context: CryptContext, secret: str, stored: str) -> bool:
    """Tell whether the secret fits; False for what is not verifiable, which is not even computed.

    Raises MemoryError when there is not enough memory for it now: the right secret must not be called wrong for that.
    """
    if not is_verifiable(stored):
        return False
    scheme = context.identify(stored)
    if scheme in ("sha256_crypt", "sha512_crypt"):
        fits = verify_sha_crypt(secret, stored)
        if fits is not None:
            return fits
    given = secret.encode()[:_BCRYPT_MAX_SECRET] if scheme == "bcrypt" else secret
    try:
        return bool(context.verify(given, stored))
    except PasswordValueError:  # longer than any secret
        return False
    except Exception as error:  # noqa: BLE001  # what libraries raise without memory; some put the hash into it
        raise MemoryError(f"a sound {scheme} hash could not be computed: {type(error).__name__}") from None


def _is_sound(scheme: str, stored: str) -> bool:
    handler = get_crypt_handler(scheme)
    try:
        return bool(handler.from_string(stored).to_string() == stored)
    except Exception:  # noqa: BLE001  # whatever passlib's parsers raise, with the hash in it
        return False


def _require_library(scheme: str) -> None:
    if _lacks_library(scheme):
        package = "argon2-cffi" if scheme == "argon2" else "bcrypt"
        raise InvalidInputError(f"the package {package} is missing → pip install 'octy-middleware[imports]'")


@cache
def _lacks_library(scheme: str) -> bool:
    """Look for the library of a scheme, and load it: passlib's own late loading is not made for threads."""
    handler = get_crypt_handler(scheme)
    try:
        return hasattr(handler, "get_backend") and not handler.get_backend()
    except (MissingBackendError, PasslibSecurityError):  # the latter: another package under the same name
        return True
