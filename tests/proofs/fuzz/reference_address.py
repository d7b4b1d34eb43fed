"""Where a request must be said to come from: the part of the reference that reads forwarding headers.

A walk through the hops by `ipaddress`, without regular expressions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_PORT = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")
_ZONE = _PORT | {"~"}
_DIGITS = frozenset("0123456789")
_MAX_HOPS = 32
_TLS = ("https", "wss")
_PLAIN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._:;=, ")


@dataclass(frozen=True, slots=True)
class ExpectedAddress:
    """The source and scheme that are right; None where the documents leave room."""

    source: str | None
    scheme: str | None


@lru_cache(maxsize=4096)
def expected_address(
    trusted: tuple[str, ...], peer: str | None, scheme: str, headers: tuple[bytes, ...]
) -> ExpectedAddress:
    """Return where a request comes from.

    `headers`: Forwarded alone, or X-Forwarded-For and X-Forwarded-Proto; the values of each joined by commas.
    """
    direct = _peer(peer)
    own = "https" if scheme in _TLS else "http" if scheme else "unknown"
    if not _trusts(trusted, direct):
        return ExpectedAddress(direct, own)
    hops, *protos = headers
    if protos:
        names = [name.strip(b" \t").lower().decode("latin-1") for name in protos[0].split(b",")]
        reported = "https" if set(names) <= set(_TLS) else "http"
        return ExpectedAddress(_walk(trusted, direct, own, hops, _read_hop).source, reported if protos[0] else own)
    # Quotes, other signs and values with "=" are left to the middleware to read.
    plain = _PLAIN.issuperset(hops) and all(part.count(b"=") < 2 for part in hops.replace(b",", b";").split(b";"))
    if not plain:
        may_be_tls = own != "http" or any(name.encode() in hops.lower() for name in _TLS)
        return ExpectedAddress(None, None if may_be_tls else "http")
    return _walk(trusted, direct, own, hops, _read_element)


@lru_cache(maxsize=4096)
def network_of(source: str) -> str:
    """Return the /24 or /64 of a source or counted source; a word stays."""
    if source in ("unix", "unknown") or "/" in source:
        return source
    return str(ip_network(f"{source}/{64 if ':' in source else 24}", strict=False))


def counted_source(source: str) -> str:
    """Return a source as it is recorded: of IPv6 the /64."""
    return network_of(source) if ":" in source else source


@lru_cache(maxsize=4096)
def is_canonical(source: str) -> bool:
    """Whether this is "unix", "unknown", or an address in its one form."""
    return source in ("unix", "unknown") or address(source) == source


def is_counted_source(source: str) -> bool:
    """Whether this is a source as it is recorded."""
    host = source.removesuffix("/64")
    return is_canonical(host) and counted_source(host) == source


def address(text: str) -> str | None:
    """Return the canonical address of `192.0.2.1[:port]`, `[2001:db8::1][:port]` or `2001:db8::1`, else None."""
    host, port, version = text, "", None
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        version, port = 6, port[1:] if port != ":" else "?"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        version, port = 4, port or "?"
    host, percent, zone = host.partition("%")
    if (port and not _is_port(port)) or (percent and not (zone and _ZONE.issuperset(zone))):
        return None
    return _canonical(host, version, zoned=bool(percent))


def _canonical(host: str, version: int | None, *, zoned: bool) -> str | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    if version not in (None, found.version) or (zoned and found.version == 4):
        return None
    return str(_embedded(found) or found)


def _embedded(found: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address in a mapped address, and a global one in a NAT64 address."""
    if found.version == 4 or found.ipv4_mapped:
        return getattr(found, "ipv4_mapped", None)
    translated = any(found in ip_network(prefix) for prefix in ("64:ff9b::/96", "64:ff9b:1::/96"))
    four = IPv4Address(found.packed[12:])
    return four if translated and four.is_global else None


def _is_port(port: str) -> bool:
    if port.startswith("_"):
        return len(port) > 1 and _PORT.issuperset(port[1:])
    return len(port) <= 5 and _DIGITS.issuperset(port)


def _peer(peer: str | None) -> str:
    if not peer or peer == "unix" or peer.startswith("unix:"):
        return "unix"
    return address(peer) or "unknown"


@lru_cache(maxsize=4096)
def _trusts(trusted: tuple[str, ...], source: str) -> bool:
    if source in ("unix", "unknown"):
        return source in trusted
    found = ip_address(source)
    networks = (ip_network(entry) for entry in trusted if entry != "unix")
    return any(found.version == network.version and found in network for network in networks)


def _walk(
    trusted: tuple[str, ...], direct: str, own: str, hops: bytes, read: Callable[[bytes], tuple[str | None, str | None]]
) -> ExpectedAddress:
    """Walk from the right to the first hop that is no trusted proxy; what is left of too many hops is malformed."""
    address_found, scheme = direct, own
    pieces = hops.split(b",") if hops else []
    for piece in [*reversed(pieces[-_MAX_HOPS:]), *([b"malformed"] if len(pieces) > _MAX_HOPS else [])]:
        source, proto = read(piece)
        address_found, scheme = source or address_found, proto or own
        if source is None or not _trusts(trusted, source):
            break
    return ExpectedAddress(address_found, scheme)


def _read_hop(piece: bytes) -> tuple[str | None, str | None]:
    """Read an element of X-Forwarded-For."""
    return address(piece.strip(b" \t").decode("latin-1")), None


def _read_element(piece: bytes) -> tuple[str | None, str | None]:
    """Read an element of Forwarded."""
    parameters = _parameters(piece)
    if parameters is None:
        return None, "http"
    proto = parameters.get(b"proto")
    scheme = None if proto is None else "https" if proto.lower().decode() in _TLS else "http"
    return address(parameters.get(b"for", b"").decode()), scheme


def _parameters(piece: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters of an element, or None for a malformed one."""
    parameters: dict[bytes, bytes] = {}
    for part in piece.split(b";"):
        name, equals, value = part.strip(b" \t").partition(b"=")
        if not (name or equals):
            continue
        if not name or not value or b" " in part.strip(b" \t") or b":" in name or name.lower() in parameters:
            return None
        parameters[name.lower()] = value
    return parameters or None
