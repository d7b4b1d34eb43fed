"""Who sent a request, and over what, behind the proxies that we were told to trust.

Here: forwarding headers -> source address and scheme; source -> network. Not here: what either is used for.

Nobody is trusted by default, whatever the server does by itself (uvicorn and gunicorn believe 127.0.0.1). One
family of headers is read, by a setting: a proxy that writes one passes the other on as the client sent it.

- Source: from the right, the first hop that is no trusted proxy. Junk, `unknown` and `_hidden` names (RFC
  7239 6) end the walk: the source is then the last address that a trusted hop vouched for. Nothing further
  left is read.
- Scheme, X-Forwarded-Proto: https only if every value says so, since a client can have sent the others.
- Scheme, Forwarded: the `proto` beside the hop that ended the walk. An element that is junk says http.
- A trusted proxy that says nothing about the scheme leaves that of its own connection to us.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal

from octy_middleware.errors import ConfigurationError

Scheme = Literal["http", "https", "unknown"]
Family = Literal["x-forwarded", "forwarded"]

UNIX = "unix"  # the peer of a unix socket, as an entry and as a source
UNKNOWN = "unknown"  # a peer that the server names in no way we know

_MAX_HOPS = 32  # what stands left of so many commas is one piece of junk
_CACHED_BYTES = 256  # longer headers are read each time, so that a cache can't be filled with them
_TLS = ("https", "wss")
_MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 addresses as seen by a socket that listens on both
_NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 addresses behind a translator (RFC 6052 2.1)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # the same with prefixes of a network's own (RFC 8215)

_PORT = r"(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
_ZONE = r"(?:%[0-9A-Za-z._~-]+)?"  # means something on one host only: dropped
_match_node = re.compile(
    rf"([0-9.]+){_PORT}|\[([0-9A-Fa-f:.]+){_ZONE}\]{_PORT}|([0-9A-Fa-f:.]+){_ZONE}",
).fullmatch
_match_parameter = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"([^\x00-\x1f\x7f-\xff\"\\]*)\"|([^\x00-\x20\x7f-\xff\",;\\]+))",
).fullmatch
_find_proto = re.compile(rb"(?:^|[;, \t])proto=\"?([A-Za-z]*)", re.IGNORECASE).findall


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Where a request came from: a canonical address, "unix" or "unknown"; and over what.

    The scheme is "unknown" where the server does not say it: such a request is refused, and its pair is not exposed.
    """

    source: str
    scheme: Scheme


class TrustedProxies:
    """The proxies whose forwarding headers are believed: addresses, networks, and "unix" for unix sockets.

    Raises ConfigurationError for an entry that is none of these or that would trust everybody.
    """

    def __init__(self, entries: Iterable[str] = (), *, forwarded_header: Family = "x-forwarded") -> None:
        entries = frozenset(entries)
        self._unix = UNIX in entries
        self._networks = tuple(_read_network(entry) for entry in sorted(entries - {UNIX}))
        self._forwarded = forwarded_header == "forwarded"
        self._trusts = lru_cache(maxsize=4096)(self._look_up)
        self._resolve_cached = lru_cache(maxsize=1024)(self._resolve)

    def resolve(
        self,
        peer: str | None,
        peer_scheme: str,
        x_forwarded_for: Sequence[bytes],
        x_forwarded_proto: Sequence[bytes],
        forwarded: Sequence[bytes],
    ) -> ClientAddress:
        """Return the address of the client of a request. The headers are all values of each, raw. Never raises.

        `peer` and `peer_scheme` must be the server's own view, not one that it took from the same headers.
        """
        if not (self._networks or self._unix):
            return _read_peer(peer, peer_scheme)
        hops = b",".join(forwarded if self._forwarded else x_forwarded_for)
        protos = b"" if self._forwarded else b",".join(x_forwarded_proto)
        small = len(hops) + len(protos) <= _CACHED_BYTES
        return (self._resolve_cached if small else self._resolve)(peer, peer_scheme, hops, protos)

    def trust(self, peer: str | None) -> bool:
        """Tell whether the forwarding headers of this peer are believed."""
        return self._trusts(_read_peer(peer, "http").source)

    def _resolve(self, peer: str | None, peer_scheme: str, hops: bytes, protos: bytes) -> ClientAddress:
        direct = _read_peer(peer, peer_scheme)
        if not self._trusts(direct.source):
            return direct
        if self._forwarded:
            return self._walk(direct, hops)
        return ClientAddress(self._walk(direct, hops).source, _weakest_scheme(protos) if protos else direct.scheme)

    def _walk(self, direct: ClientAddress, hops: bytes) -> ClientAddress:
        read = _read_forwarded if self._forwarded else _read_forwarded_for
        address = direct
        for piece in reversed(hops.rsplit(b",", _MAX_HOPS) if hops else ()):
            source, scheme = read(piece)
            address = ClientAddress(source or address.source, scheme or direct.scheme)
            if source is None or not self._trusts(source):
                break
        return address

    def _look_up(self, source: str) -> bool:
        if source in (UNIX, UNKNOWN):
            return self._unix and source == UNIX
        address = IPv6Address(source) if ":" in source else IPv4Address(source)
        return any(address in network for network in self._networks)


@lru_cache(maxsize=8192)
def counted_source(source: str) -> str:
    """Return the source as it is recorded and counted: an IPv4 address itself, an IPv6 address by its /64.

    One host has a whole /64 to choose from, so its addresses are no sources of their own.
    """
    return network_of(source) if ":" in source else source


@lru_cache(maxsize=8192)
def network_of(source: str) -> str:
    """Return the /24 (IPv4) or /64 (IPv6) of a source as text; "unix" stays, all else is "unknown"."""
    address = _read_address(source)
    if address is None:
        return UNIX if source == UNIX else UNKNOWN
    return str(ip_network((address, 64 if ":" in address else 24), strict=False))


def _read_network(entry: str) -> IPv4Network | IPv6Network:
    if "%" in entry:
        raise ConfigurationError(f"trusted_proxies: {entry!r} has a zone, and zones of peers are not compared")
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ConfigurationError(f"trusted_proxies: {entry!r} is no address, network or 'unix' ({error})") from None
    if isinstance(network, IPv6Network) and (
        network.subnet_of(_MAPPED) or (network.subnet_of(_NAT64) and _embedded_ipv4(network.network_address))
    ):
        network = IPv4Network((network.network_address.packed[12:], network.prefixlen - _MAPPED.prefixlen))
    if network.prefixlen == 0:
        raise ConfigurationError(f"trusted_proxies: {entry!r} lets every client name its own source")
    return network


@lru_cache(maxsize=4096)
def _read_peer(peer: str | None, peer_scheme: str) -> ClientAddress:
    """Read what servers say of a peer: an address, or for unix sockets nothing (most) or "unix:…"."""
    scheme: Scheme = "https" if peer_scheme in _TLS else "http" if peer_scheme else "unknown"
    if not peer or peer == UNIX or peer.startswith("unix:"):
        return ClientAddress(UNIX, scheme)
    return ClientAddress(_read_address(peer) or UNKNOWN, scheme)


def _read_address(text: str) -> str | None:
    """Return the canonical form of `192.0.2.1[:port]`, `[2001:db8::1][:port]` or `2001:db8::1`; else None."""
    match = _match_node(text)
    if match is None:
        return None
    four, bracketed, bare = match.groups()
    try:
        if four:
            return str(IPv4Address(four))
        six = IPv6Address(bracketed or bare)
    except AddressValueError:
        return None
    return str(_embedded_ipv4(six) or six)  # one host must not have two names


def _embedded_ipv4(six: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address in a mapped address or one of NAT64.

    Of NAT64 a global one only: else a translator that lets private ones pass would have strangers taken for a trusted
    proxy. With prefixes of a network's own the /96 form is read, which is the one with nothing between.
    """
    if six.ipv4_mapped is not None:
        return six.ipv4_mapped
    number = int(six)
    four = IPv4Address(number & 0xFFFFFFFF)
    in_96 = six in _NAT64 or (six in _LOCAL_NAT64 and number >> 32 & 0xFFFFFFFF == 0)
    return four if in_96 and four.is_global else None


def claims_tls(x_forwarded_proto: Iterable[bytes], forwarded: Iterable[bytes]) -> bool:
    """Tell whether forwarding headers say, whoever wrote them, that TLS was used on all of the way."""
    names = [name for value in x_forwarded_proto for name in value.split(b",")]
    names += _find_proto(b",".join(forwarded))
    return bool(names) and all(name.strip(b" \t").lower().decode("latin-1") in _TLS for name in names)


def _read_forwarded_for(piece: bytes) -> tuple[str | None, Scheme | None]:
    return _read_address(piece.strip(b" \t").decode("latin-1")), None


def _read_forwarded(piece: bytes) -> tuple[str | None, Scheme | None]:
    """Read one element of Forwarded (RFC 7239 4).

    The header was split at every comma, even in quotes: an open quote sent by the client would swallow what
    the proxy appended. No address holds a comma; a half of some other quoted value is junk.
    """
    found: dict[bytes, bytes] = {}
    for part in filter(None, (part.strip(b" \t") for part in piece.split(b";"))):
        match = _match_parameter(part)
        if match is None or match[1].lower() in found:
            return None, "http"
        found[match[1].lower()] = match[2] or match[3] or b""
    if not found:
        return None, "http"
    source = _read_address(found.get(b"for", b"").decode("ascii"))
    return source, _weakest_scheme(found[b"proto"]) if b"proto" in found else None


def _weakest_scheme(protos: bytes) -> Scheme:
    names = (name.strip(b" \t").lower().decode("latin-1") for name in protos.split(b","))
    return "https" if all(name in _TLS for name in names) else "http"
