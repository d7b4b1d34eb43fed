"""A client that sends bytes as they are and reads HTTP/1.1 responses exactly as they are framed, and WebSocket frames.

Libraries would repair or refuse what these cases want to send.
"""

import re
import socket
from dataclasses import dataclass
from functools import cached_property
from typing import Self

TIMEOUT = 30.0  # seconds for a response that must come
_BODILESS = (101, 204, 304)
_MASK = b"\x11\x22\x33\x44"


class ConnectionClosed(Exception):  # noqa: N818 - an event of the conversation, not always a fault
    """The server closed the connection before a whole response came."""


class NoResponse(Exception):  # noqa: N818
    """Nothing came in time."""


class NotHttp(Exception):  # noqa: N818
    """What came is no HTTP, such as a body after the response to a HEAD."""


@dataclass(frozen=True)
class Response:
    """One final response. `interim`: the statuses of the 1xx responses before it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes
    head: bool
    interim: tuple[int, ...] = ()

    @cached_property
    def fields(self) -> dict[str, str]:
        return dict(self.headers)

    @property
    def without_date(self) -> bytes:
        """The whole response but for the one line that changes with the clock."""
        return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", self.raw)


class RawConnection:
    """One connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._raw = bytearray()  # of the response that is being read

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def reconnect(self) -> None:
        """Hang up, and begin a new connection."""
        self.close()
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of it, unless the server has hung up already: its response may still be there to read."""
        try:
            self._socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return

    def read_response(self, *, head: bool = False, timeout: float = TIMEOUT) -> Response:
        """Read one final response; `head` says that it is to a HEAD. Raises ConnectionClosed, NoResponse or NotHttp."""
        self._socket.settimeout(timeout)
        interim: list[int] = []
        while True:
            self._raw.clear()
            status, headers = self._read_head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        body = b"" if head or status in _BODILESS else self._read_body(dict(headers))
        return Response(status, headers, body, bytes(self._raw), head, tuple(interim))

    def read_interim(self) -> int:
        """Read one response that has no body and is not the last: 100."""
        return self._read_head()[0]

    def send_text(self, text: bytes) -> None:
        """Send a short masked text frame (RFC 6455 5.2)."""
        masked = bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(text))
        self.send(bytes([0x81, 0x80 | len(text)]) + _MASK + masked)

    def read_frame(self) -> tuple[int, bytes]:
        """Read one short frame: its opcode and payload."""
        first, length = self._read(2)
        return first & 0x0F, self._read(length & 0x7F)

    def _read_head(self) -> tuple[int, list[tuple[str, str]]]:
        version, status, *_ = (*self._read().split(b" ", 2), b"")
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise NotHttp
        headers = []
        while line := self._read():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        return int(status), headers

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = bytearray()
            while size := int(self._read(), 16):
                body += self._read(size)
                self._read()
            while self._read():
                pass
            return bytes(body)
        if "content-length" in headers:
            return self._read(int(headers["content-length"]))
        return self._read(-1)

    def _read(self, size: int | None = None) -> bytes:
        """Read so many bytes, all that come (-1), or a line, without its end."""
        try:
            data = self._file.readline() if size is None else self._file.read(size)
        except TimeoutError:
            raise NoResponse from None
        except ConnectionError:
            raise ConnectionClosed from None
        if len(data) < size if size is not None else not data.endswith(b"\r\n"):
            raise ConnectionClosed
        self._raw += data
        return data.removesuffix(b"\r\n") if size is None else data
