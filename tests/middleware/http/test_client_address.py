"""Source and scheme: only configured proxies are trusted, and only for the hop that they append."""

import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.errors import ConfigurationError
from octy_middleware.http.client_address import ClientAddress, TrustedProxies, counted_source, network_of

PROXY, PROXY6, INNER, USER, USER6 = "10.0.0.9", "fd00::9", "10.0.7.7", "198.51.100.7", "2001:db8:1:2::7"
TRUSTED = ["10.0.0.0/8", "fd00::/8", "unix"]
LIE = "203.0.113.66"  # what a client writes into the headers by itself


def ask(
    peer: str | None,
    *hops: str | bytes,
    proto: tuple[str, ...] = (),
    scheme: str = "http",
    family: str = "x-forwarded",
    trusted: list[str] = TRUSTED,
) -> tuple[str, str]:
    """Ask with the hops as the values of the family's header, and a lie in the other family."""
    raw = [hop if isinstance(hop, bytes) else hop.encode() for hop in hops]
    proxies = TrustedProxies(trusted, forwarded_header=family)
    if family == "forwarded":
        address = proxies.resolve(peer, scheme, [LIE.encode()], [b"https"], raw)
    else:
        lie = f"for={LIE};proto=https".encode()
        address = proxies.resolve(peer, scheme, raw, [value.encode() for value in proto], [lie])
    return address.source, address.scheme


PEERS = {
    "IPv4": (USER, USER),
    "IPv6": (USER6, USER6),
    "IPv6 in long form": ("2001:0DB8:0001:0002:0:0:0:7", USER6),
    "IPv6 with zone": ("fe80::1%eth0", "fe80::1"),
    "mapped": (f"::ffff:{USER}", USER),
    "mapped, in hex": ("::ffff:c633:6407", USER),
    "none, as uvicorn says for unix sockets": (None, "unix"),
    "empty, as gunicorn says for unix sockets": ("", "unix"),
    "unix:, as others say": ("unix:", "unix"),
    "a name": ("testclient", "unknown"),
    "the name unknown": ("unknown", "unknown"),
    "octets with zeros": ("198.051.100.007", "unknown"),
}


@pytest.mark.parametrize(("peer", "source"), PEERS.values(), ids=PEERS)
@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8"]], ids=["none trusted", "others trusted"])
@pytest.mark.parametrize("family", ["x-forwarded", "forwarded"])
def test_untrusted_peer_is_the_source_whatever_it_sends(peer, source, trusted, family):
    hop = f"for={LIE};proto=https" if family == "forwarded" else LIE
    asked = ask(peer, hop, proto=("https",), trusted=trusted, family=family)
    assert asked == (source, "http")


def test_no_proxy_is_trusted_by_default():
    assert TrustedProxies().resolve("127.0.0.1", "http", [b"1.2.3.4"], [b"https"], []) == ClientAddress(
        "127.0.0.1", "http"
    )


SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https", "": "unknown", "HTTPS?": "http"}


@pytest.mark.parametrize(("scheme", "expected"), SCHEMES.items())
def test_scheme_of_a_direct_connection_is_its_own(scheme, expected):
    assert ask(USER, scheme=scheme) == (USER, expected)
    assert ask(USER, scheme=scheme, trusted=[]) == (USER, expected)


HOPS = {
    "no header": ([], PROXY),
    "empty header": ([""], PROXY),
    "one hop": ([USER], USER),
    "spaces and tabs": ([f" \t{USER}\t "], USER),
    "a lie to the left": ([f"{LIE}, {USER}"], USER),
    "a lie in a header of its own": ([LIE, USER], USER),
    "two trusted hops": ([f"{LIE}, {USER}, {INNER}"], USER),
    "trusted hops in two headers": ([f"{LIE},{USER}", INNER], USER),
    "trusted only": ([f"{INNER}"], INNER),
    "a lie that names a trusted proxy": ([f"{INNER}, {USER}"], USER),
    "IPv4 and port": ([f"{USER}:4711"], USER),
    "IPv6": ([USER6], USER6),
    "IPv6 in brackets": ([f"[{USER6}]"], USER6),
    "IPv6 in brackets and port": ([f"[{USER6}]:4711"], USER6),
    "IPv6 in upper case": ([USER6.upper()], USER6),
    "IPv6 with zone": (["fe80::1%eth0"], "fe80::1"),
    "mapped": ([f"::ffff:{USER}"], USER),
    "mapped and trusted": ([f"{USER}, ::ffff:{INNER}"], USER),
    "mapped in brackets and port": ([f"[::ffff:{USER}]:1"], USER),
    "IPv4 in brackets": ([f"[{USER}]"], PROXY),
    "unclosed bracket": ([f"[{USER6}"], PROXY),
    "port of six digits": ([f"{USER}:123456"], PROXY),
    "no port after the colon": ([f"{USER}:"], PROXY),
    "unknown": (["unknown"], PROXY),
    "hidden": (["_hidden"], PROXY),
    "unknown left of a trusted hop": ([f"{USER}, unknown, {INNER}"], INNER),
    "junk left of a trusted hop": ([f"{USER}, <script>, {INNER}"], INNER),
    "junk left of the client": ([f"' OR 1=1, {USER}"], USER),
    "nothing left of a trusted hop": ([f", {INNER}"], INNER),
    "trailing comma": ([f"{USER},"], PROXY),
    "octets with zeros": (["198.051.100.007"], PROXY),
    "three octets": (["198.51.100"], PROXY),
    "octet of 256": (["198.51.100.256"], PROXY),
    "a number": (["3325256711"], PROXY),
    "hexadecimal": (["0xc6336407"], PROXY),
    "a network": (["198.51.100.0/24"], PROXY),
    "unicode digits": (["١٩٨.51.100.7"], PROXY),
    "the word unix": (["unix"], PROXY),
    "NUL": ([f"{USER}\x00"], PROXY),
    "line end": ([f"{USER}\n"], PROXY),
    "latin-1": ([b"\xff\xfe"], PROXY),
    "64 KiB": (["1" * 65_536], PROXY),
    "as many hops as are read": ([f"{USER}," + ",".join([INNER] * 32)], USER),
    "more hops than are read": ([f"{LIE},{USER}," + ",".join([INNER] * 32)], INNER),
}


@pytest.mark.parametrize(("hops", "source"), HOPS.values(), ids=HOPS)
def test_x_forwarded_for_gives_the_source(hops, source):
    assert ask(PROXY, *hops) == (source, "http")


@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}", PROXY6, None, "", "unix:"])
def test_trusted_peer_is_recognized_in_every_form(peer):
    assert ask(peer, f"{LIE}, {USER}", proto=("https",)) == (USER, "https")
    assert ask(peer, f"for={USER};proto=https", family="forwarded") == (USER, "https")


def test_unix_peer_is_trusted_only_when_configured():
    assert ask(None, USER, proto=("https",), trusted=["0.0.0.0/1", "::/1"]) == ("unix", "http")


PROTOS = {
    "https": (("https",), "https"),
    "upper case": (("HTTPS",), "https"),
    "websocket": (("wss",), "https"),
    "websocket in clear": (("ws",), "http"),
    "http": (("http",), "http"),
    "twice https": (("https, https",), "https"),
    "twice https in two headers": (("https", "https"), "https"),
    "https, then http": (("https,http",), "http"),
    "http, then https": (("http", "https"), "http"),
    "https and nothing": (("https,",), "http"),
    "junk": (("ht tps",), "http"),
    "quoted": (('"https"',), "http"),
    "long s": (("http\u017f",), "http"),
    "line end": (("https\n",), "http"),
}


@pytest.mark.parametrize(("proto", "expected"), PROTOS.values(), ids=PROTOS)
@pytest.mark.parametrize("own", ["http", "https"])
def test_x_forwarded_proto_gives_the_scheme(proto, expected, own):
    assert ask(PROXY, USER, proto=proto, scheme=own) == (USER, expected)


@pytest.mark.parametrize("own", ["http", "https"])
@pytest.mark.parametrize("proto", [(), ("",)], ids=["none", "empty"])
def test_scheme_is_that_of_the_connection_when_the_proxy_sends_none(proto, own):
    assert ask(PROXY, USER, proto=proto, scheme=own) == (USER, own)
    assert ask(PROXY, f"for={USER}", family="forwarded", scheme=own) == (USER, own)
    assert ask(PROXY, family="forwarded", scheme=own) == (PROXY, own)


ELEMENTS = {
    "for and proto": ([f"for={USER};proto=https"], (USER, "https")),
    "any case, spaces": ([f" FOR={USER} ; Proto=HTTPS "], (USER, "https")),
    "more parameters": ([f'for={USER};by=_p;host="a.example:8080";proto=https'], (USER, "https")),
    "IPv6": ([f'for="[{USER6}]";proto=https'], (USER6, "https")),
    "IPv6 and port": ([f'for="[{USER6}]:4711";proto=https'], (USER6, "https")),
    "IPv6 unquoted": ([f"for=[{USER6}]:4711;proto=https"], (USER6, "https")),
    "IPv4 and port": ([f'for="{USER}:4711";proto=http'], (USER, "http")),
    "hidden port": ([f'for="{USER}:_p";proto=https'], (USER, "https")),
    "a lie to the left": ([f"for={LIE};proto=https, for={USER};proto=http"], (USER, "http")),
    "a lie in a header of its own": ([f"for={LIE}", f"for={USER};proto=https"], (USER, "https")),
    "inner hop in clear": ([f"for={USER};proto=https, for={INNER};proto=http"], (USER, "https")),
    "outer hop in clear": ([f"for={USER};proto=http, for={INNER};proto=https"], (USER, "http")),
    "trusted only": ([f"for={INNER};proto=https"], (INNER, "https")),
    "unknown": (["for=unknown;proto=https"], (PROXY, "https")),
    "hidden": (["for=_secret;proto=https"], (PROXY, "https")),
    "no for": (["proto=https"], (PROXY, "https")),
    "unknown left of a trusted hop": ([f"for=unknown;proto=https, for={INNER}"], (INNER, "https")),
    "other scheme": ([f"for={USER};proto=gopher"], (USER, "http")),
    "an open quote to the left": ([f'for="x, for={USER};proto=http'], (USER, "http")),
    "a comma in the host": ([f'for={USER};host="x, for={LIE};proto=https"'], (PROXY, "http")),
    "a comma in the host, well cut": ([f'for={USER};host="x, for={LIE};a="'], (PROXY, "http")),
    "an escaped quote": ([f'for="\\"{USER}";proto=https'], (PROXY, "http")),
    "for twice": ([f"for={USER};for={LIE};proto=https"], (PROXY, "http")),
    "proto twice": ([f"for={USER};proto=https;Proto=http"], (PROXY, "http")),
    "empty value": ([f"for=;for={USER};proto=https"], (PROXY, "http")),
    "quoted emptiness": (['for="";proto=https'], (PROXY, "https")),
    "space around the equals sign": ([f"for = {USER};proto=https"], (PROXY, "http")),
    "bare address": ([USER], (PROXY, "http")),
    "trailing comma": ([f"for={USER};proto=https,"], (PROXY, "http")),
    "trailing semicolon": ([f"for={USER};proto=https;"], (USER, "https")),
    "semicolons only": ([";;"], (PROXY, "http")),
    "latin-1": ([b"for=\xff;proto=https"], (PROXY, "http")),
    "line end": ([f"for={USER};proto=https\n"], (PROXY, "http")),
    "more elements than are read": ([",".join([f"for={INNER};proto=https"] * 40)], (INNER, "http")),
}


@pytest.mark.parametrize(("values", "expected"), ELEMENTS.values(), ids=ELEMENTS)
@pytest.mark.parametrize("own", ["http", "https"])
def test_forwarded_header_gives_source_and_scheme(values, expected, own):
    assert ask(PROXY, *values, family="forwarded", scheme=own) == expected


ENTRIES = {
    "word": "proxy.local",
    "star": "*",
    "empty": "",
    "space": " 10.0.0.1",
    "host bits": "10.0.0.1/8",
    "port": "10.0.0.1:80",
    "zone": "fe80::1%eth0",
    "all IPv4": "0.0.0.0/0",
    "all IPv6": "::/0",
    "all IPv4, mapped": "::ffff:0.0.0.0/96",
    "prefix too long": "10.0.0.0/33",
    "upper-case unix": "UNIX",
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_invalid_trusted_proxy_is_named(entry):
    with pytest.raises(ConfigurationError, match="trusted_proxies: " + re.escape(repr(entry))):
        TrustedProxies(["10.0.0.0/8", entry])


@pytest.mark.parametrize("entry", ["10.0.0.9", "10.0.0.8/31", "::ffff:10.0.0.9", "::ffff:10.0.0.0/104"])
def test_trusted_proxy_is_parsed_in_every_notation(entry):
    assert ask(PROXY, USER, trusted=[entry]) == (USER, "http")
    assert ask("11.0.0.9", USER, trusted=[entry]) == ("11.0.0.9", "http")


NETWORKS = {
    USER: "198.51.100.0/24",
    "198.51.100.255": "198.51.100.0/24",
    "0.0.0.0": "0.0.0.0/24",
    USER6: "2001:db8:1:2::/64",
    "2001:db8:1:2:ffff::": "2001:db8:1:2::/64",
    "::1": "::/64",
    f"::ffff:{USER}": "198.51.100.0/24",
    "unix": "unix",
    "unknown": "unknown",
    "": "unknown",
    "*": "unknown",
    "<script>": "unknown",
    "x" * 10_000: "unknown",
}


@pytest.mark.parametrize(("source", "network"), NETWORKS.items(), ids=lambda text: text[:24] or "empty")
def test_network_of_an_address_is_its_prefix(source, network):
    assert network_of(source) == network


@given(st.ip_addresses())
def test_any_address_is_in_its_network(address):
    source = ask(str(address), trusted=["10.0.0.0/32"])[0]
    network = network_of(source)
    assert ip_address(source) in ip_network(network)
    assert len(network) <= 64
    assert network_of(network.split("/")[0]) == network


pieces = st.one_of(
    st.binary(max_size=40),
    st.ip_addresses().map(lambda ip: str(ip).encode()),
    st.sampled_from([INNER.encode(), b"for=", b'"', b",", b";proto=https", b"unknown", b"[::1]:80", b"%x"]),
)
headers = st.lists(st.lists(pieces, max_size=6).map(b"".join), max_size=3)
peers = st.one_of(st.none(), st.text(max_size=20), st.sampled_from([PROXY, PROXY6, USER]))


@given(peers, st.text(max_size=6), st.tuples(headers, headers, headers))
@pytest.mark.parametrize("family", ["x-forwarded", "forwarded"])
def test_no_input_raises_and_every_source_is_canonical(family, peer, scheme, sent):
    address = TrustedProxies(TRUSTED, forwarded_header=family).resolve(peer, scheme, *sent)
    assert address.scheme in {"http", "https", "unknown"}
    assert address.source in {"unix", "unknown"} or str(ip_address(address.source)) == address.source


@given(headers, headers, headers, st.sampled_from(["x-forwarded", "forwarded"]))
def test_no_header_moves_an_untrusted_peer(hops, protos, forwarded, family):
    proxies = TrustedProxies(TRUSTED, forwarded_header=family)
    assert proxies.resolve(USER, "http", hops, protos, forwarded) == ClientAddress(USER, "http")


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_forged_hops_never_replace_the_hop_that_a_proxy_appended(lies):
    assert ask(PROXY, *lies, USER, proto=("https",)) == (USER, "https")
    assert ask(PROXY, *lies, f"for={USER};proto=https", family="forwarded") == (USER, "https")


def test_long_forwarding_headers_are_not_cached():
    """A cached header gives the same object again."""
    proxies = TrustedProxies(TRUSTED)
    for size, cached in ((10, True), (1_000, False), (10_000, False)):
        hops = [b"x" * size + b"," + USER.encode()]
        first, again = (proxies.resolve(PROXY, "http", hops, [], []) for _ in range(2))
        assert first.source == again.source == USER
        assert (first is again) is cached


@pytest.mark.parametrize(
    ("peer", "source", "counted"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("64:ff9b::8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("64:ff9b:1::8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("64:ff9b:1:abcd::8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("64:ff9b::10.0.0.1", "64:ff9b::a00:1", "64:ff9b::/64"),  # no stranger becomes a private proxy
        ("64:ff9b:1:8::1:808:808", "64:ff9b:1:8:0:1:808:808", "64:ff9b:1:8::/64"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::ffff:1", "2001:db8::/64"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("unix", "unix", "unix"),
        ("junk", "unknown", "unknown"),
    ],
)
def test_nat64_and_mapped_addresses_are_their_ipv4_address(peer: str, source: str, counted: str) -> None:
    address = TrustedProxies().resolve(peer, "https", (), (), ())
    assert (address.source, counted_source(address.source)) == (source, counted)


def test_private_address_behind_nat64_is_not_a_trusted_proxy() -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "64:ff9b::808:808/128"])
    assert not proxies.trust("64:ff9b::10.0.0.1")
    assert proxies.trust("64:ff9b::8.8.8.8")
