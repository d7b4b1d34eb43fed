"""All of a request but its Authorization: where it comes from, over what, and what else it says.

Here: peers, schemes, forwarding headers, Accept, User-Agent, request ids, methods, paths. Not here: what must come of
them (`reference`), and which adapters they go through (`lanes`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from proofs.fuzz.mutations import mutate, noise, pick
from proofs.fuzz.origin import Origin

Header = tuple[bytes, bytes]
PROXY = "127.0.0.1"

_PEERS = (
    *(PROXY, PROXY, PROXY, PROXY, PROXY, "10.1.2.3", "203.0.113.9", "198.51.100.77", "2001:db8:ffff::7", "2001:db8::7"),
    *(
        "::ffff:10.1.2.3",
        "::ffff:203.0.113.9",
        "fe80::1%eth0",
        "::1",
        "0.0.0.0",
        "unix",
        "unix:/run/api.sock",
        "",
        None,
    ),
    *("testclient", "localhost", "203.0.113.9:4711", "[2001:db8::7]:4711", "127.1", "0x7f.1", "127.0.0.1 ", "٣.٣.٣.٣"),
)
_SCHEMES = ("https", "https", "http", "wss", "ws", "HTTPS", "", "https,http", "ftp")
_HOPS = (
    *(
        "203.0.113.60",
        "198.51.100.178",
        "10.0.0.1",
        "10.255.0.9",
        "2001:db8::1",
        "2001:db8:ffff::9",
        "unknown",
        "_hidden",
    ),
    *("203.0.113.60:1", "[2001:db8::1]", "[2001:db8::1]:_x", "::ffff:203.0.113.61", "unix", "", " ", "127.0.0.1", "*"),
    *("203.0.113.060", "203.0.113.256", "1", "::", "fe80::1%25eth0", "2001:DB8::A", "localhost", "-", '"', "\x00"),
)
_PROTOS = ("https", "https", "https", "http", "HTTPS", "https, https", "https,http", "http,https", "wss", "", " ", "on")
_ACCEPTS = (
    *(b"*/*", b"application/json", b"application/problem+json", b"application/problem+json;q=0.5, application/json"),
    *(
        b"application/json;q=0.2, application/problem+json;q=0.3",
        b"text/html",
        b"",
        b",",
        b"application/*;q=0",
        b"*/*;q=1.001",
    ),
    *(
        b"application/problem+json;q=",
        b"application/problem+json; Q = 0.9 ;x=y",
        b"a/b;q=nan, c/d;q=1e9",
        b"*/*;q=-1",
        b";;;,;,",
    ),
)
_AGENTS = (
    b"octy-cli/1.0",
    b"Mozilla/5.0 (X11; Linux)",
    b"\x1b[31mred",
    b"a\r\nb",
    "\u202eevil".encode(),
    b"<b>x</b>",
    b"",
)
_ID = (b"x-request-id", b"018f3c1e-7d5a-7000-8000-000000000000")
_IDS = (
    b"8d3f5c1e-0000-4000-8000-000000000000",
    b"a b",
    b"x" * 64,
    b"x" * 65,
    b"",
    b"-",
    b"../..",
    b"\xff\xfe",
    b"id\n",
)
_METHODS = ("GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get", "G\x00T", "X" * 40, "", "ÖPTIONS")
_PATHS = (
    *(
        "/v1/things",
        "/v1/account/authenticate",
        "/health",
        "/health/",
        "/healthy",
        "/static/app.css",
        "/static/",
        "/static",
    ),
    *(
        "/static/../admin",
        "/static//x",
        "/static/./x",
        "/static/..\\x",
        "/static/a..b",
        "/static/%2e%2e/x",
        "/static/x\x00",
    ),
    *(
        "/v1/versions",
        "/v1/versions/",
        "*",
        "",
        "/",
        "//",
        "/\u202e",
        "/\udcff",
        "/static/\x7f",
        "/STATIC/x",
        "/static/..;/x",
    ),
)


@dataclass(slots=True)
class Surroundings:
    """`site`: which authenticator is asked. Header names: lower case. `origin`: what the reference made of them."""

    site: int = 0
    peer: str | None = PROXY
    scheme: str = "http"
    method: str = "GET"
    path: str = "/v1/things"
    headers: list[Header] = field(
        default_factory=lambda: [(b"x-forwarded-proto", b"https"), (b"forwarded", b"proto=https"), _ID]
    )
    origin: Origin | None = None


class Weather:
    """The surroundings of one request after another: most often plain ones with a few odd parts."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def next(self) -> Surroundings:
        rng = self._rng
        around = Surroundings(site=self._site())
        if rng.random() < 0.12:
            around.peer = pick(rng, _PEERS)
        if rng.random() < 0.08:
            around.scheme = pick(rng, _SCHEMES)
        if rng.random() < 0.1:
            around.method = pick(rng, _METHODS)
        if rng.random() < 0.12:
            around.path = self._path()
        if rng.random() < 0.4:
            around.headers = self._headers()
        return around

    def _site(self) -> int:
        dice = self._rng.random()
        return 0 if dice < 0.75 else 1 if dice < 0.98 else 2

    def _path(self) -> str:
        path = pick(self._rng, _PATHS)
        if self._rng.random() < 0.3:
            return mutate(self._rng, path.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
        return path

    def _headers(self) -> list[Header]:
        """Forwarding headers that say https most often, and now and then anything else."""
        rng = self._rng
        headers = self._protos()
        if rng.random() < 0.5:
            headers += [(b"x-forwarded-for", self._addresses(b",")) for _ in range(1 + (rng.random() < 0.1))]
        if rng.random() < 0.4:
            headers += [(b"forwarded", self._forwarded()) for _ in range(1 + (rng.random() < 0.1))]
        else:
            headers.append((b"forwarded", b"proto=https"))
        for name, kinds in ((b"accept", _ACCEPTS), (b"user-agent", _AGENTS), (b"x-request-id", _IDS)):
            if rng.random() < 0.3:
                headers.append((name, self._any(kinds)))
            elif name == _ID[0] and rng.random() < 0.8:
                headers.append(_ID)
        return headers

    def _protos(self) -> list[Header]:
        rng = self._rng
        if rng.random() < 0.85:
            return [(b"x-forwarded-proto", b"https")]
        return [(b"x-forwarded-proto", pick(rng, _PROTOS).encode()) for _ in range(int(rng.random() * 3))]

    def _any(self, kinds: Sequence[bytes]) -> bytes:
        rng = self._rng
        dice = rng.random()
        if dice < 0.6:
            return pick(rng, kinds)
        if dice < 0.9:
            return mutate(rng, pick(rng, kinds))
        return noise(rng, 700)

    def _hop(self) -> bytes:
        rng = self._rng
        dice = rng.random()
        if dice < 0.4:
            return pick(rng, _HOPS).encode()
        if dice < 0.6:
            return b"%d.%d.%d.%d" % tuple(rng.randbytes(4))
        if dice < 0.75:
            return b":".join(b"%x" % int(rng.random() * 65_536) for _ in range(8))
        return mutate(rng, pick(rng, _HOPS).encode())

    def _addresses(self, comma: bytes) -> bytes:
        hops = [self._hop() for _ in range(1 + int(3 * self._rng.random()))]
        if self._rng.random() < 0.02:
            hops *= 20
        return pick(self._rng, (comma, comma + b" ", b" " + comma + b"\t")).join(hops)

    def _forwarded(self) -> bytes:
        rng = self._rng
        elements = []
        for _ in range(1 + int(3 * rng.random())):
            quoted = (
                pick(rng, (b"for=%b", b'for="%b"', b'For="[%b]"', b'for="%b', b"by=%b", b"for=%b;for=x")) % self._hop()
            )
            elements.append(quoted + pick(rng, (b"", b";proto=https", b";proto=http", b'; proto="https"', b";host=x")))
        header = b", ".join(elements)
        return mutate(rng, header) if rng.random() < 0.2 else header
