"""PURE. What a staff member signs to log in, as canonical bytes. The client builds it, from values of its own.

The server's URL as the client reached it is part of it: a server that passes a log-in on to another one gains nothing.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from octy_middleware.loopback import is_loopback
from octy_worker.canonical_json import canonical_json, read_canonical
from octy_workflows.order_content import actor_error

NONCE_TTL = 60.0
"""Seconds in which a nonce can be used, once."""

_MAX_BYTES = 4096
_DEFAULT_PORTS = {"https": 443, "http": 80}
_INSTALLATION = re.compile(r"[0-9a-f]{16}")


class InvalidLoginError(ValueError):
    """The bytes are not a log-in text in canonical form, or a URL is none of a server."""


@dataclass(frozen=True, slots=True)
class LoginText:
    """Who logs in where. `server`: as `normalize_server` returns it. `issued_at`: Unix seconds."""

    server: str
    installation: str
    nonce: str
    handle: str
    issued_at: int

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return canonical_json({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_bytes(cls, data: bytes) -> "LoginText":
        """Read canonical bytes. Raises InvalidLoginError for every other form, and nothing else."""
        text = read_canonical(data, cls, _is_valid, max_bytes=_MAX_BYTES)
        if text is None:
            raise InvalidLoginError("it is not a log-in text in canonical form")
        return text


def _is_valid(text: LoginText) -> bool:
    return (
        all(isinstance(value, str) for value in (text.server, text.installation, text.nonce, text.handle))
        and type(text.issued_at) is int
        and _INSTALLATION.fullmatch(text.installation) is not None
        and actor_error(text.handle) is None
    )


def normalize_server(url: str) -> str:
    """Return a server's URL in the one form that is signed: lower-case host, no default port, no slash at the end.

    Raises InvalidLoginError for one that is neither https:// nor http:// on loopback.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InvalidLoginError(f"{url!r} is not the URL of a server") from None
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.query or parts.fragment or parts.username is not None:
        raise InvalidLoginError(f"{url!r} is not the URL of a server, as in https://staff.example.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidLoginError(f"{url!r} is not encrypted: https:// is needed, except on loopback")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{shown}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"
