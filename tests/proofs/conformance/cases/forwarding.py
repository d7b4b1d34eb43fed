"""Cases of forwarding headers: who sent a request and over what, behind the proxy that is trusted, and behind none."""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import ID, NOTHING, SECURE, SOURCE, Case, case, http
from proofs.conformance.response_text import MISSING, OPEN, PLAIN

_ALONE, _FORWARDED_SITE = b"alone.example", b"forwarded.example"
_PEER, _USER, _USER6 = "127.0.0.1", "198.51.100.7", "2001:db8:1:2::7"
_NETWORK6 = "2001:db8:1:2::/64"  # as which an IPv6 source is recorded
_FORGED = "203.0.113.66"  # what a client writes into the headers by itself
_FORGED_FOR, _FORWARDED = f"X-Forwarded-For: {_FORGED}", f"Forwarded: for={_USER};proto=https"


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    for name, lines, source in _SOURCES:
        request = http(*(line.encode("latin-1") for line in lines), front=(SECURE, ID))
        yield case("source", name, request, MISSING, _from("missing", source))
    yield from _plain(key_pairs)
    yield from _alone(key_pairs)
    for name, lines, source in _ELEMENTS:
        request = http(*(line.encode() for line in lines), front=(ID,), host=_FORWARDED_SITE)
        yield case(
            "Forwarded",
            name,
            request,
            MISSING if source else PLAIN,
            _from("missing", source) if source else _from("plain_http", _PEER if "no" in name else _USER),
        )


def _from(outcome: str, source: str) -> str:
    return f"{outcome} from {source}"


def _plain(key_pairs: KeyPairs) -> Iterator[Case]:
    """Return requests that came to the proxy without TLS."""
    for name, lines in _SCHEMES.items():
        request = http(*(line.encode() for line in lines), key_pairs.basic, front=(SOURCE, ID))
        yield case("plain HTTP", name, request, PLAIN, "plain_http")
    yield case("plain HTTP", "no credentials over plain HTTP", http(front=(SOURCE, ID)), PLAIN, "plain_http")
    yield case("plain HTTP", "HEAD over plain HTTP", http(front=(SOURCE, ID), method=b"HEAD"), PLAIN, "plain_http")
    yield case("plain HTTP", "exempt path over plain HTTP", http(front=(SOURCE, ID), path=b"/open"), OPEN, NOTHING)
    request = http(key_pairs.basic, front=(SOURCE, ID), path=b"https://api.example/who")
    yield case("plain HTTP", "https in the request line", request, PLAIN, "plain_http")


def _alone(key_pairs: KeyPairs) -> Iterator[Case]:
    """Return forged headers to a site that trusts no proxy: our own setting decides, whatever the server trusts."""
    for name, lines in {
        "the usual headers of a proxy": (_FORGED_FOR, "X-Forwarded-Proto: https"),
        "a scheme alone": ("X-Forwarded-Proto: https",),
        "a source alone": (_FORGED_FOR,),
        "Forwarded, which is not trusted": (f"Forwarded: for={_FORGED};proto=https",),
        "with underscores": (f"X_Forwarded_For: {_FORGED}", "X_Forwarded_Proto: https"),
        "X-Forwarded-Ssl": ("X-Forwarded-Ssl: on",),
        "X-Forwarded-Protocol": ("X-Forwarded-Protocol: ssl",),
    }.items():
        request = http(*(line.encode() for line in lines), key_pairs.basic, front=(ID,), host=_ALONE)
        yield case("no proxy trusted", name, request, PLAIN, _from("plain_http", _PEER))


def _hops(*values: str) -> tuple[str, ...]:
    return tuple(f"X-Forwarded-For: {value}" for value in values)


_SOURCES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("no X-Forwarded-For", (), _PEER),
    ("empty X-Forwarded-For", _hops(""), _PEER),
    ("one hop", _hops(_USER), _USER),
    ("a forged address to the left", _hops(f"{_FORGED}, {_USER}"), _USER),
    ("a forged address without a space", _hops(f"{_FORGED},{_USER}"), _USER),
    ("a forged address in a line before", _hops(_FORGED, _USER), _USER),
    ("two forged addresses in lines before", _hops(_FORGED, _FORGED, _USER), _USER),
    (
        "a forged address in a line before, in another case",
        (f"X-FORWARDED-FOR: {_FORGED}", f"x-forwarded-for: {_USER}"),
        _USER,
    ),
    ("a trusted hop to the right", _hops(f"{_FORGED}, {_USER}, {_PEER}"), _USER),
    ("a trusted hop in a line after", _hops(_USER, _PEER), _USER),
    ("trusted hops only", _hops(f"{_PEER}, {_PEER}"), _PEER),
    ("a port", _hops(f"{_USER}:4711"), _USER),
    ("IPv6", _hops(_USER6), _NETWORK6),
    ("IPv6 in brackets", _hops(f"[{_USER6}]"), _NETWORK6),
    ("IPv6 in brackets, and a port", _hops(f"[{_USER6}]:4711"), _NETWORK6),
    ("IPv6 in long form", _hops("2001:0DB8:0001:0002:0:0:0:7"), _NETWORK6),
    ("IPv4 in IPv6", _hops(f"::ffff:{_USER}"), _USER),
    ("spaces and tabs", _hops(f" \t{_USER}\t "), _USER),
    ("junk", _hops("<script>"), _PEER),
    ("junk to the left", _hops(f"' OR 1=1, {_USER}"), _USER),
    ("junk to the right", _hops(f"{_USER}, junk"), _PEER),
    ("latin-1", _hops("\xff\xfe"), _PEER),
    ("unknown", _hops("unknown"), _PEER),
    ("octets with zeros", _hops("198.051.100.007"), _PEER),
    ("trailing comma", _hops(f"{_USER},"), _PEER),
    ("unclosed bracket", _hops(f"[{_USER6}"), _PEER),
    ("4 KiB of hops", _hops("1.1.1.1," * 500 + _USER), _USER),
    ("a forged address with underscores before", (f"X_Forwarded_For: {_FORGED}", *_hops(_USER)), _USER),
    ("a forged address with underscores after", (*_hops(_USER), f"X_Forwarded_For: {_FORGED}"), _USER),
    ("a forged address with one underscore", (*_hops(_USER), f"X-Forwarded_For: {_FORGED}"), _USER),
    ("a forged address in Forwarded", (*_hops(_USER), f"Forwarded: for={_FORGED};proto=http"), _USER),
    (
        "a forged address in X-Real-IP and similar headers",
        (*_hops(_USER), f"X-Real-IP: {_FORGED}", f"Client-IP: {_FORGED}"),
        _USER,
    ),
)

_SCHEMES: dict[str, tuple[str, ...]] = {
    "right key pair over plain HTTP": (),
    "X-Forwarded-Proto: http": ("X-Forwarded-Proto: http",),
    "https, then http": ("X-Forwarded-Proto: https, http",),
    "http, then https": ("X-Forwarded-Proto: http, https",),
    "https, then http in another line": ("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"),
    "http, then https in another line": ("X-Forwarded-Proto: http", "X-Forwarded-Proto: https"),
    "quoted https": ('X-Forwarded-Proto: "https"',),
    "another word": ("X-Forwarded-Proto: on",),
    "https with underscores": ("X_Forwarded_Proto: https",),
    "http, then https with underscores": ("X-Forwarded-Proto: http", "X_Forwarded_Proto: https"),
    "https in X-Forwarded-Scheme and similar headers": (
        "X-Forwarded-Scheme: https",
        "X-Forwarded-Protocol: ssl",
        "X-Forwarded-Ssl: on",
        "X-Url-Scheme: https",
        "Front-End-Https: on",
    ),
    "https in Forwarded": ("Forwarded: proto=https",),
}

_ELEMENTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("for and proto", (_FORWARDED,), _USER),
    ("IPv6, quoted, and a port", (f'Forwarded: for="[{_USER6}]:4711";proto=https',), _NETWORK6),
    (
        "a forged address to the left of the element",
        (f"Forwarded: for={_FORGED};proto=http, for={_USER};proto=https",),
        _USER,
    ),
    ("a forged address in an element's line before", (f"Forwarded: for={_FORGED}", _FORWARDED), _USER),
    ("an open quote to the left", (f'Forwarded: for="x, for={_USER};proto=https',), _USER),
    ("a forged address in the other headers", (_FORGED_FOR, _FORWARDED, "X-Forwarded-Proto: http"), _USER),
    ("proto=http", (f"Forwarded: for={_USER};proto=http",), ""),
    ("no Forwarded, but the other headers", (_FORGED_FOR, "X-Forwarded-Proto: https"), ""),
)
