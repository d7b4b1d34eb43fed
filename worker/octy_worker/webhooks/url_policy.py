"""Which URLs and addresses webhooks are sent to.

Customers choose the URL, and the worker is inside a network that customers can't reach: a URL must not make it connect
to internal servers (OWASP: server-side request forgery). So only addresses of the public Internet are allowed.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from octy_worker.webhooks.failures import FailureReason, PostError

DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_UNPRIVILEGED_PORT = 1024  # lower ports are mail, SSH, LDAP and the like
_NAT64 = IPv6Network("64:ff9b::/96")  # the last 32 bits are the IPv4 address
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all allocated addresses
# Listed here, because Python versions differ in `is_global`, and because some look public but are not.
_BLOCKED_NETWORKS = (
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT; a cloud's metadata server
    IPv4Network("168.63.129.16/32"),  # a cloud's internal server, although it looks public
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata server
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv6Network("2001::/23"),  # protocol assignments; Teredo, which contains another address
    IPv6Network("2002::/16"),  # 6to4, which contains another address
    IPv6Network("3fff::/20"),  # documentation
)


@dataclass(frozen=True, slots=True)
class Destination:
    """A parsed URL. Path and query may contain secrets of the customer."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)


def check_url(url: str, *, allow_http: bool, allow_private: bool) -> Destination:
    """Return the parsed URL. Raises PostError for a URL that is not allowed."""
    if not url:
        raise PostError(FailureReason.NO_URL)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise PostError(FailureReason.BAD_URL) from None
    if parts.scheme not in DEFAULT_PORTS or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise PostError(FailureReason.BAD_URL)
    if parts.scheme != "https" and not allow_http:
        raise PostError(FailureReason.NOT_HTTPS)
    if parts.username is not None or parts.password is not None:
        raise PostError(FailureReason.USER_IN_URL)
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    if port != DEFAULT_PORTS[parts.scheme] and port < _FIRST_UNPRIVILEGED_PORT and not allow_private:
        raise PostError(FailureReason.BAD_PORT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme, host, port, target)


def is_public(text: str) -> bool:
    """Return whether an address, as the resolver returns it, is a public Internet address."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            address = IPv4Address(address.packed[-4:])
        elif address not in _GLOBAL_UNICAST:  # such as IPv4-mapped addresses, ::ffff:127.0.0.1
            return False
    return not _is_special(address)


def _is_special(address: IPv4Address | IPv6Address) -> bool:
    return (
        not address.is_global
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or any(address in network for network in _BLOCKED_NETWORKS if network.version == address.version)
    )
