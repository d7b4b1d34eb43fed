"""PURE. Time-based one-time passwords (RFC 6238) as a second factor: six digits, 30 seconds, SHA-1.

These are the only parameters that every authenticator app supports. The library is libpass. A code is accepted once:
the caller keeps the counter of the last one and updates it by one conditional UPDATE.
"""

from passlib.exc import InvalidTokenError, MalformedTokenError, UsedTokenError
from passlib.totp import TOTP

from octy_middleware.clock import RandomBytes
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

SEED_BYTES = 20  # RFC 4226, section 4, R6: 160 bits
_WINDOW = 30  # seconds that the app's clock may differ


def new_seed(random_bytes: RandomBytes) -> str:
    """Return a new seed in Base32, as authenticator apps take it."""
    return str(TOTP(key=random_bytes(SEED_BYTES), format="raw").base32_key)


def provisioning_uri(seed: str, *, handle: str, issuer: str) -> str:
    """Return the `otpauth://` URI that a QR code shows."""
    return str(TOTP(key=seed).to_uri(label=handle, issuer=issuer))


def verify_code(seed: str, code: str, *, last_counter: int, now: float) -> int:
    """Return the counter of a right code. Raises RefusedSignatureError for a wrong, stale or used one.

    `last_counter`: of the last accepted code, 0 for none; codes up to it are refused. `now`: Unix seconds.
    """
    try:
        return int(TOTP(key=seed).match(code, time=now, window=_WINDOW, last_counter=last_counter).counter)
    except UsedTokenError:
        raise RefusedSignatureError("this code was used before; wait for the next one") from None
    except (InvalidTokenError, MalformedTokenError):
        raise RefusedSignatureError("the code is wrong or too old; compare the clocks") from None
