"""PURE. Random tokens of links, sessions and cookies, and the hash by which the database knows one."""

import base64
import hashlib

from octy_middleware.clock import RandomBytes

_TOKEN_BYTES = 32


def new_token(random_bytes: RandomBytes) -> str:
    """Return 256 random bits as text for a URL, a header or a cookie (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(random_bytes(_TOKEN_BYTES)).decode().rstrip("=")


def hash_of(text: str) -> str:
    """Return SHA-256 of a text in hex; a text of somebody else may have characters that no encoding has."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
