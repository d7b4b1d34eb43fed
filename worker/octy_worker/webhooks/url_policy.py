"""PURE. Where a webhook may go: the rules for URLs, and for the addresses that their names lead to.

Here: what is refused. Not here: looking names up, connecting (`network`).

Customers choose the URL, and the worker stands inside a network that they don't: a URL must not make it talk to what
only it can reach (OWASP: server-side request forgery). So an address is taken only if it is one of the public Internet.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from octy_worker.webhooks.failures import FailureReason, PostError

_DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_UNPRIVILEGED_PORT = 1024  # below are mail, shells, directories and the like
_NAT64 = IPv6Network("64:ff9b::/96")  # NAT64: the last 32 bits are where it really goes
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that was ever given to anybody
# Said here, because releases of Python disagree about what is global, and because some are special in truth only.
_BLOCKED_NETWORKS = (
    IPv4Network("100.64.0.0/10"),  # carriers' NAT; metadata of one cloud
    IPv4Network("168.63.129.16/32"),  # the wire server of one cloud, in spite of its public look
    IPv4Network("192.0.0.0/24"),  # protocols' own; metadata of one cloud
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # protocols' own; Teredo, which has another address inside
    IPv6Network("2002::/16"),  # 6to4: another address inside
    IPv6Network("3fff::/20"),  # documentation
)


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL in parts. Path and query may hold what is secret to the customer."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)


def check_url(url: str, *, allow_http: bool, allow_private: bool) -> Destination:
    """Return a URL in parts; raise DeliveryError for one that nothing is sent to."""
    if not url:
        raise PostError(FailureReason.NO_URL)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise PostError(FailureReason.BAD_URL) from None
    if parts.scheme not in _DEFAULT_PORTS or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise PostError(FailureReason.BAD_URL)
    if parts.scheme != "https" and not allow_http:
        raise PostError(FailureReason.NOT_HTTPS)
    if parts.username is not None or parts.password is not None:
        raise PostError(FailureReason.USER_IN_URL)
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    if port != _DEFAULT_PORTS[parts.scheme] and port < _FIRST_UNPRIVILEGED_PORT and not allow_private:
        raise PostError(FailureReason.BAD_PORT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme, host, port, target)


def is_public(text: str) -> bool:
    """Tell whether an address, as the resolver writes it, is one of the public Internet."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            address = IPv4Address(address.packed[-4:])
        elif address not in _GLOBAL_UNICAST:  # among others IPv4 addresses in another spelling, ::ffff:127.0.0.1
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
