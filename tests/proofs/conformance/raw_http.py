"""A client that sends bytes as they are and reads answers exactly as they are framed.

Here: sockets, the framing of HTTP/1.1 answers and of short WebSocket frames. Not here: what an answer means
(`answers`). Libraries would repair or refuse what these cases want to send.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

TIMEOUT = 10.0  # seconds for an answer that must come
_BODILESS = (101, 204, 304)
_MASK = b"\x11\x22\x33\x44"


class ConnectionClosed(Exception):  # noqa: N818 - an event of the conversation, not always a fault
    """The server closed the connection before a whole answer came."""


class NoResponse(Exception):  # noqa: N818
    """Nothing came in time."""


class NotHttp(Exception):  # noqa: N818
    """What came is no HTTP, such as a body after the answer to a HEAD."""


@dataclass(frozen=True)
class Response:
    """One final answer. `interim`: the statuses of the 1xx answers before it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes
    head: bool
    interim: tuple[int, ...] = ()
    fields: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", dict(self.headers))


class RawConnection:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._raw = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._socket.close()

    def reconnect(self) -> None:
        """Hang up, and begin a new connection."""
        self._socket.close()
        self._open()

    def send(self, data: bytes) -> None:
        """Send all of it, unless the server has hung up already: its answer may still be there to read."""
        try:
            self._socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return

    def answer(self, *, head: bool = False, patience: float = TIMEOUT) -> Response:
        """Read one final answer; `head` says that it answers a HEAD. Raises Closed or Silent."""
        self._socket.settimeout(patience)
        interim: list[int] = []
        while True:
            self._raw.clear()
            status, headers = self._read_head()
            if 100 <= status < 200 and status != 101:
                interim.append(status)
                continue
            body = b"" if head or status in _BODILESS else self._read_body(headers)
            return Response(status, headers, body, bytes(self._raw), head, tuple(interim))

    def interim(self) -> int:
        """Read one answer that has no body and is not the last: 100."""
        return self._read_head()[0]

    def is_closed(self, patience: float = TIMEOUT) -> bool:
        """Tell whether the server closes the connection, saying no more."""
        self._socket.settimeout(patience)
        try:
            return not self._buffer and not self._socket.recv(1)
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def send_text(self, text: bytes) -> None:
        """Send a short masked text frame (RFC 6455 5.2)."""
        masked = bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(text))
        self.send(bytes([0x81, 0x80 | len(text)]) + _MASK + masked)

    def frame(self) -> tuple[int, bytes]:
        """Read one short frame: its opcode and payload."""
        first, length = self._take(2)
        return first & 0x0F, self._take(length & 0x7F)

    def _read_head(self) -> tuple[int, list[tuple[str, str]]]:
        version, status, *_ = (*self._line().split(b" ", 2), b"")
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise NotHttp
        headers = []
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        return int(status), headers

    def _read_body(self, headers: list[tuple[str, str]]) -> bytes:
        fields = dict(headers)
        if fields.get("transfer-encoding") == "chunked":
            return self._chunks()
        if "content-length" in fields:
            return self._take(int(fields["content-length"]))
        return self._rest()

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self._line(), 16):
            body += self._take(size)
            self._line()
        while self._line():
            pass
        return bytes(body)

    def _rest(self) -> bytes:
        try:
            while True:
                self._fill()
        except ConnectionClosed:
            return self._take(len(self._buffer))

    def _line(self) -> bytes:
        return self._until(lambda: self._buffer.find(b"\r\n") + 2 if b"\r\n" in self._buffer else 0)[:-2]

    def _take(self, size: int) -> bytes:
        return self._until(lambda: size if len(self._buffer) >= size else 0) if size else b""

    def _until(self, length: Callable[[], int]) -> bytes:
        while not (size := length()):
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._raw += taken
        return taken

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            raise NoResponse from None
        except ConnectionError:
            raise ConnectionClosed from None
        if not data:
            raise ConnectionClosed
        self._buffer += data
