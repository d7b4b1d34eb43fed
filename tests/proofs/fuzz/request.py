"""One request of the fuzzer, and its text for a command line that plays it again."""

from ast import literal_eval
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import astuple, dataclass, replace
from zlib import compress, decompress

Header = tuple[bytes, bytes]
PROXY = "127.0.0.1"
REQUEST_ID = (b"x-request-id", b"018f3c1e-7d5a-7000-8000-000000000000")


@dataclass(frozen=True, slots=True)
class FuzzRequest:
    """A request as the authenticator reads it. `setup`: which authenticator; header names are in lower case.

    `values`: all values of Authorization; `headers`: all others.
    """

    values: tuple[bytes, ...] = ()
    setup: int = 0
    peer: str | None = PROXY
    scheme: str = "http"
    method: str = "GET"
    path: str = "/v1/things"
    headers: tuple[Header, ...] = ((b"x-forwarded-proto", b"https"), (b"forwarded", b"proto=https"), REQUEST_ID)

    @property
    def has_replaced_peer(self) -> bool:
        return False

    def header(self, name: bytes) -> list[bytes]:
        if name == b"authorization":
            return list(self.values)
        return [value for key, value in self.headers if key == name]

    @property
    def accept(self) -> bytes | None:
        return next(iter(self.header(b"accept")), None)

    @property
    def all_headers(self) -> list[Header]:
        return [*self.headers, *((b"authorization", value) for value in self.values)]

    def as_wsgi(self) -> "FuzzRequest":
        """Return the request as WSGI passes it on: repeated headers joined by commas, and a path that is not empty."""
        values = (b",".join(self.values),) if self.values else ()
        names = dict.fromkeys(name for name, _ in self.headers)
        headers = tuple((name, b",".join(self.header(name))) for name in names)
        path = self.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") or "/"
        return replace(self, values=values, headers=headers, path=path)


def to_text(request: FuzzRequest, entry_point: str) -> str:
    """Return request and entry point as one word for a command line, whatever bytes they hold."""
    return urlsafe_b64encode(compress(repr((entry_point, astuple(request))).encode())).decode()


def from_text(text: str) -> tuple[FuzzRequest, str]:
    """Read what `to_text` has written."""
    entry_point, fields = literal_eval(decompress(urlsafe_b64decode(text)).decode())
    return FuzzRequest(*fields), entry_point
