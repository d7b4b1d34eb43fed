"""Hashes imported from other systems: which are supported, and their verification."""

from functools import cache

from passlib.context import CryptContext
from passlib.exc import MissingBackendError, PasslibSecurityError, PasswordValueError
from passlib.registry import get_crypt_handler

from octy_middleware.errors import InvalidInputError
from octy_middleware.keys.hash_formats import ImportedHash, parse_hash, reject_damaged
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
"""The passlib schemes of imported hashes."""

_MAX_LENGTH = 2000  # characters; a salt of 1024 bytes fits
_BCRYPT_MAX_SECRET = 72  # bytes; what follows was never part of the hash, and bcrypt 5 raises where older ones cut


def parse_imported_hash(text: str) -> ImportedHash:
    """Return the form to store. Raises InvalidInputError, which says what is wrong and never shows the hash."""
    if len(text) > _MAX_LENGTH:
        raise InvalidInputError("this is too long for a hash")
    parsed = parse_hash(text.strip())
    _require_library(parsed.scheme)
    reject_damaged(damaged=not _is_sound(parsed))
    return parsed


def is_verifiable(stored: str) -> bool:
    """Return whether this host can verify the hash: it is valid and its library is installed."""
    try:
        return parse_imported_hash(stored).stored == stored
    except InvalidInputError:
        return False


def verify_imported(context: CryptContext, secret: str, stored: str) -> bool:
    """Return whether the secret matches; False without computing it if the hash is not verifiable.

    Raises MemoryError if there is not enough memory, because a right secret must not count as wrong then.
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
    except Exception as error:  # noqa: BLE001  # what libraries raise when out of memory; some texts contain the hash
        raise MemoryError(f"a sound {scheme} hash could not be computed: {type(error).__name__}") from None


def _is_sound(parsed: ImportedHash) -> bool:
    handler = get_crypt_handler(parsed.scheme)
    try:
        return bool(handler.from_string(parsed.stored).to_string() == parsed.stored)
    except Exception:  # noqa: BLE001  # pragma: no cover - passlib rejects none of ours; its text contains the hash
        return False


def _require_library(scheme: str) -> None:
    if _lacks_library(scheme):
        package = "argon2-cffi" if scheme == "argon2" else "bcrypt"
        raise InvalidInputError(f"the package {package} is missing → pip install 'octy-middleware[imports]'")


@cache
def _lacks_library(scheme: str) -> bool:
    """Return whether the library of a scheme is missing. Loads it now: passlib's lazy loading is not thread-safe."""
    handler = get_crypt_handler(scheme)
    try:
        return hasattr(handler, "get_backend") and not handler.get_backend()
    except (MissingBackendError, PasslibSecurityError):  # the latter: another package under the same name
        return True
