"""SHA-crypt by the C library's `crypt_r`, which releases the interpreter's lock; passlib holds it for seconds.

Without `crypt_r`, as on macOS, passlib computes; then many such hashes slow down other requests.
"""

import ctypes
import ctypes.util
import logging
from collections.abc import Callable
from functools import cache

_logger = logging.getLogger(__name__)

_CRYPT_DATA_SIZE = 256 * 1024  # bytes of `struct crypt_data`: 131,232 in glibc, 32,768 in libxcrypt, 256 in musl
_MAX_SECRET = 500  # bytes of a secret; libxcrypt takes 511
_TEST_HASH = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"  # from the specification of SHA-crypt

Crypt = Callable[[bytes, bytes], bytes | None]


def verify_sha_crypt(secret: str, stored: str) -> bool | None:
    """Return whether a secret matches a valid SHA-crypt hash; None if the C library cannot compute it."""
    crypt, given = _crypt(), secret.encode()
    if crypt is None or b"\0" in given or len(given) > _MAX_SECRET:
        return None
    computed = crypt(given, stored.encode())
    if computed is None or not computed.startswith(stored[:3].encode()):
        return None  # pragma: no cover - a C library that does without the scheme
    return computed == stored.encode()


@cache
def _crypt() -> Crypt | None:
    for name in (ctypes.util.find_library("crypt"), None):  # musl has it in libc
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError, TypeError):  # pragma: no cover - another platform
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)

        def crypt(secret: bytes, setting: bytes, function: Callable[..., bytes | None] = function) -> bytes | None:
            return function(secret, setting, ctypes.create_string_buffer(_CRYPT_DATA_SIZE))

        if crypt(b"Hello world!", _TEST_HASH.encode()) == _TEST_HASH.encode():  # pragma: no branch - another platform
            return crypt
    _logger.warning(  # pragma: no cover - another platform
        "this host has no crypt_r: imported SHA-crypt hashes are verified in Python and slow other requests"
    )
    return None  # pragma: no cover - another platform
