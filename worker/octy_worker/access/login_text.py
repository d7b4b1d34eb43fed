"""PURE. What a staff member signs to log in, and the one form of a server's URL."""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from octy_middleware.loopback import is_loopback
from octy_worker.access.orders import Namespace
from octy_worker.access.signed_text import SignedText

NONCE_TTL = 60.0
"""Seconds in which a nonce can be used, once."""

_DEFAULT_PORTS = {"https": 443, "http": 80}


class InvalidServerError(ValueError):
    """A URL that is none of a server, or not encrypted."""


@dataclass(frozen=True, slots=True)
class LoginText(SignedText):
    """Who logs in where. `nonce`: of the server."""

    what: ClassVar[str] = "log-in"
    namespace: ClassVar[Namespace] = Namespace.LOGIN

    nonce: str


def normalize_server(url: str) -> str:
    """Return a server's URL in the one form that is signed: lower-case host, no default port, no slash at the end.

    Raises InvalidServerError for one that is neither https:// nor http:// on loopback.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InvalidServerError(f"{url!r} is not the URL of a server") from None
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.query or parts.fragment or parts.username is not None:
        raise InvalidServerError(f"{url!r} is not the URL of a server, as in https://staff.example.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidServerError(f"{url!r} is not encrypted: https:// is needed, except on loopback")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{shown}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"
