"""HTTP clients that keep their connection, ask again and again, and write down how each request ended.

They speak the least HTTP/1.1 that reads a response with a length; a library would take more time than the servers do.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PATH = "/v1/account/authenticate"
TIMEOUT = 30.0  # seconds for a response; a server that needs longer hangs
UNANSWERED = 0
"""The status of a request whose connection ended before its response came."""
UNKNOWN_KEY = "pk_" + "0" * 28


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: when it was sent and answered (monotonic seconds), and how."""

    sent: float
    answered: float
    status: int
    retry_after: str = ""
    body: bytes = b""


class Connection:
    """One connection to a port of this machine, opened again when the server has closed it."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self._port, self._timeout = port, timeout
        self.opened = 0
        """How often it was opened: while this stays, the same process answers."""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, authorization: str = "", *, method: str = "GET", path: str = PATH, source: str = ""
    ) -> Exchange:
        """Send one request; where the connection is refused or lost, the status is UNANSWERED.

        `source`: the client's address that a trusted proxy would report.
        """
        credentials = f"Authorization: {authorization}\r\n" if authorization else ""
        credentials += f"X-Forwarded-For: {source}\r\n" if source else ""
        request = f"{method} {path} HTTP/1.1\r\nHost: api\r\n{credentials}Content-Length: 0\r\n\r\n".encode()
        sent = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                status, headers, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Exchange(sent, time.monotonic(), UNANSWERED)
        return Exchange(sent, time.monotonic(), status, headers.get("retry-after", ""), body)

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            self.opened += 1
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")[:-2]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(status.split(" ")[1]), headers, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def keep_asking(
    port: int, authorization: str, exchanges: list[Exchange], done: Callable[[], bool], *, pause: float = 0.0
) -> None:
    """Ask one request after the other on one connection, until `done`."""
    connection = Connection(port)
    try:
        while not done():
            exchanges.append(await connection.ask(authorization))
            if pause or exchanges[-1].status == UNANSWERED:
                await asyncio.sleep(pause or 0.01)
    finally:
        connection.close()


def statuses(exchanges: Iterable[Exchange]) -> Counter[int]:
    return Counter(exchange.status for exchange in exchanges)


def times(exchanges: Iterable[Exchange]) -> list[float]:
    """Return the seconds that each took."""
    return [exchange.answered - exchange.sent for exchange in exchanges]
