"""Clients that keep their connection, ask again and again, and write down how each request ended.

Here: the least HTTP/1.1 that reads an answer with a length; libraries would take more time than the servers do. Not
here: what the answers should have been.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PATH = "/v1/account/authenticate"
TIMEOUT = 30.0  # seconds for an answer; a server that needs longer hangs
UNANSWERED = 0
"""The status of a request whose connection ended before its answer came."""

Until = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: when it was sent and answered (monotonic seconds), and how."""

    sent: float
    answered: float
    status: int
    retry_after: str = ""
    body: bytes = b""

    @property
    def took(self) -> float:
        return self.answered - self.sent


class Connection:
    """One connection to a port of this machine, opened anew when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.opened = 0
        """How often it was opened: while this stays, the same process answers."""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, authorization: str = "", *, method: str = "GET", path: str = PATH) -> Exchange:
        """Send one request; a connection that is refused or lost is a Shot of its own kind."""
        credentials = f"Authorization: {authorization}\r\n" if authorization else ""
        request = f"{method} {path} HTTP/1.1\r\nHost: api\r\n{credentials}Content-Length: 0\r\n\r\n".encode()
        sent = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                status, fields, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Exchange(sent, time.monotonic(), UNANSWERED)
        return Exchange(sent, time.monotonic(), status, fields.get("retry-after", ""), body)

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            self.opened += 1
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")[:-2]
        fields = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            self.close()
        return int(status.split(" ")[1]), fields, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def keep_asking(
    port: int, authorization: str, shots: list[Exchange], until: Until, *, pause: float = 0.0
) -> None:
    """Ask one after the other on one connection, until told."""
    connection = Connection(port)
    try:
        while not until():
            shots.append(await connection.ask(authorization))
            if pause or shots[-1].status == UNANSWERED:
                await asyncio.sleep(pause or 0.01)
    finally:
        connection.close()


def statuses(shots: Iterable[Exchange]) -> Counter[int]:
    return Counter(shot.status for shot in shots)


def times(shots: Iterable[Exchange]) -> list[float]:
    return [shot.took for shot in shots]
