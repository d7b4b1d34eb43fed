"""One connection of the load generator: the least HTTP/1.1 that sends a request and finds the end of a response."""

import socket

RESPONSE_TIMEOUT = 20.0
_RECEIVED = 65_536


class LoadError(Exception):
    """A wrong response or none: such a run has measured nothing."""


def request(path: str, authorization: str) -> bytes:
    """Return the bytes of a GET, as a small client sends it."""
    lines = (f"GET {path} HTTP/1.1", "Host: api.example", "User-Agent: bench", "Accept: */*")
    return "\r\n".join([*lines, f"Authorization: {authorization}", "", ""]).encode()


class Line:
    """One connection: its request, since when that is under way, and the response so far."""

    __slots__ = ("begun", "request", "size", "socket", "stream", "text", "wanted")

    def __init__(self, port: int, request: bytes, status: int, stream: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=RESPONSE_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.wanted = b"HTTP/1.1 %d" % status
        self.stream = stream
        self.begun = 0.0
        self.size = 0  # bytes of the last response; the next one is mostly as long
        self.text = b""

    def send(self, begun: float) -> None:
        self.begun = begun
        self.socket.sendall(self.request)

    def read(self) -> bool:
        """Read what came; return whether the response is complete."""
        got = self.socket.recv(_RECEIVED)
        if not got:
            raise LoadError(f"the server closed a connection; before that it sent {self.text[:200]!r}")
        text = self.text = self.text + got if self.text else got
        if len(text) != self.size and not self._is_whole(text):
            return False
        if not text.startswith(self.wanted):
            raise LoadError(f"{self.wanted.decode()} was expected, not {text[:300]!r}")
        self.text = b""
        return True

    def _is_whole(self, text: bytes) -> bool:
        head, end, body = text.partition(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"content-length:")
        if not end or len(body) < int(length.split(b"\r\n", 1)[0]):
            return False
        self.size = len(text)
        return True
