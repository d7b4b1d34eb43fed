"""The address and scheme of a request's client, read from forwarding headers of trusted proxies.

No proxy is trusted by default, whatever the server does by itself (uvicorn and gunicorn trust 127.0.0.1). Only one
family of headers is read, chosen by a setting, because a proxy that writes one passes the other on as the client
sent it.

- Source: from the right, the first hop that is not a trusted proxy. Malformed elements, `unknown` and `_hidden` names
  (RFC 7239 6) end the search: the source is then the last address that a trusted hop reported. Nothing further left
  is read.
- Scheme, X-Forwarded-Proto: https only if every value is https, since a client can have sent the others.
- Scheme, Forwarded: the `proto` of the hop that ended the search. A malformed element counts as http.
- If a trusted proxy does not report the scheme, that of its own connection is used.
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

UNIX = "unix"  # the peer of a unix socket, in the setting and as a source
UNKNOWN = "unknown"  # a peer whose address the server does not report

_MAX_HOPS = 32  # anything left of so many commas is read as one malformed element
_CACHED_BYTES = 256  # longer headers are not cached, so that they cannot fill the cache
_TLS = ("https", "wss")
_MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 addresses as reported by a dual-stack socket
_NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 addresses behind a translator (RFC 6052 2.1)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # the same with a network's own prefix (RFC 8215)

_PORT = r"(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
_ZONE = r"(?:%[0-9A-Za-z._~-]+)?"  # valid on one host only: dropped
_match_node = re.compile(
    rf"([0-9.]+){_PORT}|\[([0-9A-Fa-f:.]+){_ZONE}\]{_PORT}|([0-9A-Fa-f:.]+){_ZONE}",
).fullmatch
_match_parameter = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"([^\x00-\x1f\x7f-\xff\"\\]*)\"|([^\x00-\x20\x7f-\xff\",;\\]+))",
).fullmatch
_find_proto = re.compile(rb"(?:^|[;, \t])proto=\"?([A-Za-z]*)", re.IGNORECASE).findall


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Where a request came from: a canonical address, "unix" or "unknown"; and by which scheme.

    The scheme is "unknown" where the server does not report it: such a request is rejected, and its key pair does not
    count as exposed.
    """

    source: str
    scheme: Scheme


class TrustedProxies:
    """The proxies whose forwarding headers are trusted: addresses, networks, and "unix" for unix sockets.

    Raises ConfigurationError for any other entry, and for one that would trust every address.
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
        """Return the address and scheme of the client. Headers: all raw values of each. Never raises.

        `peer` and `peer_scheme` must be those of the connection, not values that the server took from these headers.
        """
        if not (self._networks or self._unix):
            return _read_peer(peer, peer_scheme)
        hops = b",".join(forwarded if self._forwarded else x_forwarded_for)
        protos = b"" if self._forwarded else b",".join(x_forwarded_proto)
        small = len(hops) + len(protos) <= _CACHED_BYTES
        return (self._resolve_cached if small else self._resolve)(peer, peer_scheme, hops, protos)

    def trust(self, peer: str | None) -> bool:
        """Return whether the forwarding headers of this peer are trusted."""
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
    """Return the source as it is recorded and counted: an IPv4 address itself, an IPv6 address as its /64.

    One host can use any address of its /64, so these are counted as one source.
    """
    return network_of(source) if ":" in source else source


@lru_cache(maxsize=8192)
def network_of(source: str) -> str:
    """Return the /24 (IPv4) or /64 (IPv6) of a source as text; "unix" stays; anything else is "unknown"."""
    address = _read_address(source)
    if address is None:
        return UNIX if source == UNIX else UNKNOWN
    return str(ip_network((address, 64 if ":" in address else 24), strict=False))


def _read_network(entry: str) -> IPv4Network | IPv6Network:
    if "%" in entry:
        raise ConfigurationError(f"trusted_proxies: {entry!r} has a zone; zones are not supported")
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ConfigurationError(
            f"trusted_proxies: {entry!r} is not an address, a network or 'unix' ({error})"
        ) from None
    if isinstance(network, IPv6Network) and (
        network.subnet_of(_MAPPED) or (network.subnet_of(_NAT64) and _embedded_ipv4(network.network_address))
    ):
        network = IPv4Network((network.network_address.packed[12:], network.prefixlen - _MAPPED.prefixlen))
    if network.prefixlen == 0:
        raise ConfigurationError(f"trusted_proxies: {entry!r} would let every client choose its own source address")
    return network


@lru_cache(maxsize=4096)
def _read_peer(peer: str | None, peer_scheme: str) -> ClientAddress:
    """Read the peer as servers report it: an address; for unix sockets None, an empty text or "unix:…"."""
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
    return str(_embedded_ipv4(six) or six)  # one host must have one address


def _embedded_ipv4(six: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address in a mapped or a NAT64 address.

    NAT64: global addresses only, because a translator that passes private ones would make a client look like a
    trusted proxy. Of the forms with a network's own prefix only /96 is read.
    """
    if six.ipv4_mapped is not None:
        return six.ipv4_mapped
    number = int(six)
    four = IPv4Address(number & 0xFFFFFFFF)
    in_96 = six in _NAT64 or (six in _LOCAL_NAT64 and number >> 32 & 0xFFFFFFFF == 0)
    return four if in_96 and four.is_global else None


def claims_tls(x_forwarded_proto: Iterable[bytes], forwarded: Iterable[bytes]) -> bool:
    """Return whether forwarding headers, trusted or not, report TLS for every hop."""
    names = [name for value in x_forwarded_proto for name in value.split(b",")]
    names += _find_proto(b",".join(forwarded))
    return bool(names) and all(name.strip(b" \t").lower().decode("latin-1") in _TLS for name in names)


def _read_forwarded_for(piece: bytes) -> tuple[str | None, Scheme | None]:
    return _read_address(piece.strip(b" \t").decode("latin-1")), None


def _read_forwarded(piece: bytes) -> tuple[str | None, Scheme | None]:
    """Read one element of Forwarded (RFC 7239 4).

    The header is split at every comma, even in quotes, because an open quote sent by the client would otherwise
    swallow what the proxy appended. No address contains a comma; half of another quoted value is malformed.
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
