"""Hypothesis strategies for requests: valid ones, ones with a single broken part, and arbitrary bytes."""

import string
from base64 import b32encode, b64encode, b85encode, urlsafe_b64encode
from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from proofs.conformance.cases.authorization import with_trailing_bits
from proofs.fuzz.keys import FuzzKeys
from proofs.fuzz.mutations import PIECES, edit
from proofs.fuzz.reference import SETUPS
from proofs.fuzz.request import PROXY, REQUEST_ID, FuzzRequest, Header

Bytes = SearchStrategy[bytes]
_KEY_CHARACTERS = string.ascii_letters + string.digits + "-"

_SCHEMES = (
    *(b"basic", b"BASIC", b"Basic:", b"Basic,", b"Basicc", b"Basic Basic", b"\xa0Basic", b"Bearer", b"Digest", b"b"),
    *(name.encode() for name in ("B\u0430sic", "Ba\u017fic", "\uff22asic", "Bas\u0131c")),
)
_GAPS = (b"  ", b"", b"\t", b" \t", b"\t ", b"\xa0", b"\xc2\xa0", b"\x0b", b"\xe2\x80\x89", b"+", b"%20", b":")
_TEXTS = (
    *("pk_xxx:sk_xxx", "$OCTY_PK:$OCTY_SK", "pk_:sk_", ":", "", "admin:admin", "pk_' OR '1'='1:x", "pk_12345678:a\x7f"),
    *("pk_../../etc/passwd:x", '{"pk": "a"}', "pk_12345678", "\x07", "p\u043a_12345678:x", "\ufeffpk_12345678:x"),
    *("pk_" + "\u0661" * 8 + ":x", "pk_12345678\uff1ax", "pk_12345678\x00:x", "pk_12345678:\u009b31m"),
    *(f"pk_{'a' * length}:x" for length in (7, 8, 80, 81)),
)
_WHOLE_VALUES = (b"", b" ", b"\t", b" \t ", b"Basic", b"Basic ", b"Bearer", b"=", b'Digest username="x", realm="y"')
_JOINS = (b",", b", ", b" , ", b",\t", b";", b"\r\n", b"\n", b"\x00", b" ", b", Bearer a, ")

_PEERS = (
    *("10.1.2.3", "203.0.113.9", "2001:db8:ffff::7", "2001:db8::7", "::ffff:10.1.2.3", "::ffff:203.0.113.9", "unix"),
    *("fe80::1%eth0", "::1", "0.0.0.0", "unix:/run/api.sock", "", None, "testclient", "127.1", "0x7f.1", "127.0.0.1 "),
    *(
        "203.0.113.9:4711",
        "[2001:db8::7]:4711",
        "\u0663.\u0663.\u0663.\u0663",
        "64:ff9b::cb00:7109",
        "64:ff9b::a01:203",
    ),
)
_CONNECTION_SCHEMES = ("https", "wss", "ws", "HTTPS", "", "https,http", "ftp")
_METHODS = ("POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get", "G\x00T", "X" * 40, "", "ÖPTIONS")
_PATHS = (
    *("/health", "/health/", "/healthy", "/static/app.css", "/static/", "/static", "/static/../admin", "/static//x"),
    *("/static/./x", "/static/..\\x", "/static/a..b", "/static/%2e%2e/x", "/static/x\x00", "/static/\x7f", "/STATIC/x"),
    *("/static/..;/x", "/v1/versions", "/v1/versions/", "*", "", "/", "//", "/\u202e", "/\udcff", "/v1/" + "x" * 300),
)
_HOPS = (
    *(
        "203.0.113.60",
        "10.0.0.1",
        "2001:db8::1",
        "2001:db8:ffff::9",
        "unknown",
        "_hidden",
        "unix",
        "",
        " ",
        "127.0.0.1",
    ),
    *("203.0.113.60:1", "[2001:db8::1]", "[2001:db8::1]:_x", "::ffff:203.0.113.61", "*", "\x00", '"', "203.0.113.060"),
    *("203.0.113.256", "1", "::", "fe80::1%25eth0", "2001:DB8::A", "localhost", "-"),
)
_FORWARDED = (
    *(b"for=%b", b"for=%b;proto=https", b"proto=https;for=%b", b'for="%b";proto=http', b'For="[%b]"; proto="https"'),
    *(b'for="%b', b"by=%b", b"for=%b;for=x", b"for=%b;host=x", b"for=%b;proto=wss;x"),
)
_PROTOS = (b"https", b"http", b"HTTPS", b"https, https", b"https,http", b"http,https", b"wss", b"", b" ", b"on")
_ACCEPTS = (
    *(
        b"*/*",
        b"application/json",
        b"application/problem+json",
        b"",
        b",",
        b"application/*;q=0",
        b"*/*;q=-1",
        b";;;,;,",
    ),
    *(b"application/problem+json;q=0.5, application/json", b"application/problem+json; Q = 0.9 ;x=y", b"a/b;q=nan"),
)
_USER_AGENTS = (b"octy-cli/1.0", b"\x1b[31mred", b"a\r\nb", b"<b>x</b>", b"", b"x" * 700)
_REQUEST_IDS = (REQUEST_ID[1], b"a b", b"x" * 64, b"x" * 65, b"", b"-", b"../..", b"\xff\xfe", b"id\n")


def requests(keys: FuzzKeys) -> SearchStrategy[FuzzRequest]:
    """Half of the requests have the usual surroundings, so that their credentials decide what comes of them."""
    value = _values(keys)
    values = st.one_of(
        *(value.map(lambda one: (one,)) for _ in range(8)),
        value.map(lambda same: (same, same)),
        st.lists(value, max_size=3).map(tuple),
    )
    usual, headers = FuzzRequest().headers, st.lists(_headers(), max_size=5).map(tuple)
    surroundings = {
        "setup": st.sampled_from((*[0] * 10, *[1] * 4, *[2] * 3)),
        "peer": _mostly(PROXY, _PEERS),
        "scheme": _mostly("http", _CONNECTION_SCHEMES),
        "method": _mostly("GET", _METHODS),
        "path": _mostly("/v1/things", _PATHS),
        "headers": headers | headers.map(lambda others: (*usual, *others)),
    }
    return st.builds(FuzzRequest, values) | st.builds(FuzzRequest, values, **surroundings)


def _mostly(usual: str, others: Sequence[str | None]) -> SearchStrategy[str | None]:
    return st.sampled_from((*[usual] * 3 * len(others), *others))


def _values(keys: FuzzKeys) -> Bytes:
    """One value of Authorization."""
    pair = _pairs(keys)
    token = pair.map(b64encode)
    valid = st.builds(bytes.__add__, st.sampled_from((b"Basic ", b"Basic ", b"", b"basic  ")), token)
    text = st.sampled_from(_TEXTS).map(str.encode) | _edited(pair) | st.binary(max_size=90)
    broken = (
        st.builds(lambda scheme, token: scheme + b" " + token, st.sampled_from(_SCHEMES), token),
        st.builds(lambda gap, token: b"Basic" + gap + token, st.sampled_from(_GAPS), token),
        text.map(lambda decoded: b"Basic " + b64encode(decoded)),
        st.builds(lambda change, decoded: b"Basic " + change(decoded), st.sampled_from(_NOT_BASE64), pair),
        _edited(valid),
    )
    strange = (
        st.sampled_from(_WHOLE_VALUES) | st.binary(max_size=200),
        st.builds(bytes.join, st.sampled_from(_JOINS), st.lists(valid, min_size=2, max_size=2)),
        st.builds(_padded, st.just(keys), st.sampled_from([setup.limit for setup in SETUPS]), st.integers(-4, 4)),
        st.builds(lambda unit, size: (unit * size)[:size], st.sampled_from((b"A", b",", b" ")), st.integers(0, 65_536)),
    )
    return st.one_of(*(valid.map(bytes) for _ in range(len(broken))), *broken, *strange)


def _pairs(keys: FuzzKeys) -> Bytes:
    """`pk:sk` of the right form: live, attacked, retired or unknown, with the right or a wrong secret."""
    sent = st.sampled_from(keys.sent)
    right = sent.map(":".join)
    wrong = st.builds(lambda pair, change: f"{pair[0]}:{change(pair[1])}", sent, st.sampled_from(_WRONG_SECRETS))
    other = st.builds(lambda pair, secret: f"{pair[0]}:{secret}", sent, st.text(st.characters(codec="utf-8")))
    unknown = st.text(_KEY_CHARACTERS, min_size=8, max_size=80).map(lambda body: f"pk_{body}:{keys.live[1]}")
    return st.one_of(right, wrong, other, unknown).map(str.encode)


_WRONG_SECRETS: tuple[Callable[[str], str], ...] = (
    lambda secret: secret[:-1],
    lambda secret: secret[:-1] + "~",
    str.upper,
    lambda secret: f" {secret}",
    lambda secret: f"{secret} ",
    lambda secret: f"{secret}:",
    lambda secret: f"{secret}\u200b",
)


def _edited(texts: Bytes) -> Bytes:
    pieces = st.sampled_from(PIECES) | st.binary(min_size=1, max_size=2)
    return st.builds(edit, texts, st.integers(0, 200), st.integers(0, 3), pieces)


_NOT_BASE64: tuple[Callable[[bytes], bytes], ...] = (
    bytes,
    b32encode,
    b85encode,
    lambda decoded: with_trailing_bits(b64encode(decoded)),
    lambda decoded: b64encode(decoded).rstrip(b"="),
    lambda decoded: b64encode(decoded) + b"=",
    lambda decoded: urlsafe_b64encode(decoded + b"???>>>"),
    lambda decoded: b64encode(b64encode(decoded)),
    lambda decoded: b'"%b"' % b64encode(decoded),
    lambda decoded: b64encode(decoded.decode().encode("utf-16")),
)


def _padded(keys: FuzzKeys, limit: int, offset: int) -> bytes:
    """A valid header of about as many bytes as a setup allows."""
    room = (limit + offset - len("Basic ")) // 4 * 3 - len(keys.live[0]) - 1
    token = b64encode(f"{keys.live[0]}:{'x' * room}".encode())
    return b"Basic" + token.rjust(limit + offset - len("Basic"))


def _headers() -> SearchStrategy[Header]:
    """Any header but Authorization."""
    hops = (st.sampled_from(_HOPS) | st.ip_addresses().map(str)).map(str.encode)
    elements = st.builds(bytes.__mod__, st.sampled_from(_FORWARDED), hops)
    commas = st.sampled_from((b",", b", ", b" ,\t"))
    kinds = {
        b"x-forwarded-proto": st.sampled_from(_PROTOS),
        b"x-forwarded-for": st.builds(bytes.join, commas, st.lists(hops, min_size=1, max_size=40)),
        b"forwarded": st.builds(bytes.join, commas, st.lists(elements, min_size=1, max_size=40)),
        b"accept": st.sampled_from(_ACCEPTS),
        b"user-agent": st.sampled_from(_USER_AGENTS),
        b"x-request-id": st.sampled_from(_REQUEST_IDS),
    }
    return st.one_of(
        *(st.tuples(st.just(name), values) for name, values in kinds.items()),
        *(st.tuples(st.just(name), _edited(values) | st.binary(max_size=100)) for name, values in kinds.items()),
    )
