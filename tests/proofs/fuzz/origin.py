"""Where a request must be said to have come from: the reference's part that reads forwarding headers.

Here: a walk through hops by `ipaddress`, without regular expressions. Not here: credentials (`reference`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Network, ip_address, ip_network

_PORT = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")
_ZONE = _PORT | {"~"}
_DIGITS = frozenset("0123456789")
_MOST_HOPS = 32
_TLS = ("https", "wss")
_PLAIN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._:;=, ")


@dataclass(frozen=True, slots=True)
class Origin:
    """The sources and schemes that are right; None where the documents leave room."""

    source: str | None
    scheme: str | None


def trace(trusted: tuple[str, ...], peer: str | None, scheme: str, said: tuple[bytes | None, bytes, bytes]) -> Origin:
    """Return the origin of a request.

    `said`: Forwarded, or None where that is not read; X-Forwarded-For; X-Forwarded-Proto; each joined by commas.
    """
    forwarded, hops, protos = said
    direct = _peer(peer)
    own = "https" if scheme in _TLS else "http" if scheme else "unknown"
    if not _trusts(trusted, direct):
        return Origin(direct, own)
    if forwarded is not None:
        return _walk_forwarded(trusted, direct, own, forwarded)
    said = [name.strip(b" \t").lower() for name in protos.split(b",")]
    told = "https" if all(name in (b"https", b"wss") for name in said) else "http"
    return Origin(_walk(trusted, direct, hops), told if protos else own)


@lru_cache(maxsize=4096)
def network_of(source: str) -> str:
    """Return the /24 or /64 of a source as it is recorded; a word stays, and so does a /64."""
    if source in ("unix", "unknown") or "/" in source:
        return source
    return str(ip_network(f"{source}/{64 if ':' in source else 24}", strict=False))


@lru_cache(maxsize=4096)
def is_canonical(source: str) -> bool:
    """Tell whether this is a word of ours, or an address in its one form."""
    return source in ("unix", "unknown") or address(source) == source


@lru_cache(maxsize=4096)
def is_counted(source: str) -> bool:
    """Tell whether this is a source as it is recorded: a word, an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in source:
        return is_canonical(source)
    try:
        network = IPv6Network(source)
    except ValueError:
        return False
    return network.prefixlen == 64 and str(network) == source and network.network_address.ipv4_mapped is None


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
    return str(getattr(found, "ipv4_mapped", None) or found)


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


def _pieces(hops: bytes) -> Sequence[bytes]:
    """Return the hops from the right; what stands left of too many is one piece of junk."""
    pieces = hops.split(b",") if hops else []
    return [*reversed(pieces[-_MOST_HOPS:]), *([b"junk"] if len(pieces) > _MOST_HOPS else [])]


def _walk(trusted: tuple[str, ...], direct: str, hops: bytes) -> str:
    source = direct
    for piece in _pieces(hops):
        found = address(piece.strip(b" \t").decode("latin-1"))
        if found is None:
            break
        source = found
        if not _trusts(trusted, source):
            break
    return source


def _walk_forwarded(trusted: tuple[str, ...], direct: str, own: str, header: bytes) -> Origin:
    """Walk elements of the plainest form; quotes, other signs, and values with "=" are left to the code to read."""
    if not _PLAIN.issuperset(header) or any(part.count(b"=") > 1 for part in header.replace(b",", b";").split(b";")):
        is_open = own != "http" or b"https" in header.lower() or b"wss" in header.lower()
        return Origin(None, None if is_open else "http")
    source, scheme = direct, own
    for piece in _pieces(header):
        said = _parameters(piece)
        if said is None or address(said.get(b"for", b"").decode()) is None:
            return Origin(source, _proto(said, own) if said is not None else "http")
        source, scheme = str(address(said[b"for"].decode())), _proto(said, own)
        if not _trusts(trusted, source):
            break
    return Origin(source, scheme)


def _parameters(piece: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters of an element, or None for one that is junk."""
    said: dict[bytes, bytes] = {}
    for part in piece.split(b";"):
        name, equals, value = part.strip(b" \t").partition(b"=")
        if not (name or equals):
            continue
        if not name or not value or b" " in part.strip(b" \t") or b":" in name or name.lower() in said:
            return None
        said[name.lower()] = value
    return said or None


def _proto(said: dict[bytes, bytes], own: str) -> str:
    if b"proto" not in said:
        return own
    return "https" if said[b"proto"].lower() in (b"https", b"wss") else "http"
