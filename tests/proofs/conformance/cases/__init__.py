"""THE table: what is sent, what must be answered, what must be on record afterwards. The same for every cell.

The cases are in the modules beside, by subject; what differs where is in `known_differences`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.raw_http import ConnectionClosed, NoResponse, NotHttp, RawConnection
from proofs.conformance.response_text import CLOSED, GARBLED, SILENT, WHO, describe

NOTHING = ""
STOP = "stop"
HOST = b"api.example"
SECURE, SOURCE, ID = b"X-Forwarded-Proto: https", b"X-Forwarded-For: <source>", b"X-Request-Id: <id>"
FRONT = (SECURE, SOURCE, ID)
"""What the TLS proxy in front writes. The marks become an address and an id of the case's own."""

THEN = b"<then>"
"""Between the requests of one connection."""


class Conversation(Protocol):
    """How a case goes: it sends the request, in pieces if need be, and yields what each response says."""

    def __call__(self, connection: RawConnection, request: bytes) -> Iterator[str]: ...


@dataclass(frozen=True)
class CaseResult:
    """What a case comes to: responses in order; outcomes, with "from <source>" where that is not the case's own."""

    responses: tuple[str, ...]
    recorded: str

    def __str__(self) -> str:
        return f"{' · '.join(self.responses)} [{self.recorded or 'nothing recorded'}]"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    group: str
    name: str
    request: bytes
    expected: CaseResult
    conversation: Conversation
    adapter: str = ""  # asgi or wsgi, where the case exists at one of them only
    number: int = 0

    @property
    def title(self) -> str:
        """What names it in reports and in `known_differences`."""
        return f"{self.group}: {self.name}"

    @property
    def source(self) -> str:
        """The case's own client address, by which its record is found."""
        return f"198.18.{self.number >> 8}.{self.number & 255}"

    @property
    def request_id(self) -> str:
        """The case's own request id."""
        return f"case-{self.number}"

    @property
    def bytes(self) -> bytes:
        """The request with its marks filled in."""
        return self.request.replace(b"<source>", self.source.encode()).replace(b"<id>", self.request_id.encode())

    def run(self, port: int) -> tuple[str, ...]:
        """Have the conversation on a connection of its own, and return what was answered."""
        responses: list[str] = []
        with RawConnection(port) as connection:
            try:
                responses.extend(self.conversation(connection, self.bytes))
            except (ConnectionClosed, NoResponse, NotHttp) as end:
                responses.append({ConnectionClosed: CLOSED, NoResponse: SILENT, NotHttp: GARBLED}[type(end)])
        return tuple(responses)


def on_one_connection(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Send request after request on one connection, each after the response to the one before."""
    for part in request.split(THEN):
        connection.send(part)
        yield describe(connection.read_response(head=part.startswith(b"HEAD ")))


def on_new_connections(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Send request after request, each on a connection of its own."""
    for part in request.split(THEN):
        connection.send(part)
        yield describe(connection.read_response())
        connection.reconnect()


def http(
    *lines: bytes,
    path: bytes = b"/who",
    method: bytes = b"GET",
    host: bytes = HOST,
    front: tuple[bytes, ...] = FRONT,
    body: bytes = b"",
) -> bytes:
    """Write a request; `lines` are header lines as they go over the wire."""
    head = [b"%s %s HTTP/1.1" % (method, path), b"Host: " + host, *front, *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def case(
    group: str,
    name: str,
    request: bytes,
    responses: str | tuple[str, ...],
    recorded: str,
    *,
    conversation: Conversation = on_one_connection,
    adapter: str = "",
) -> Case:
    """Make a row."""
    expected = CaseResult((responses,) if isinstance(responses, str) else responses, recorded)
    return Case(group, name, request, expected, conversation, adapter)


def group(name: str, *rows: tuple[str, bytes, str | tuple[str, ...], str], **options: Any) -> Iterator[Case]:
    """Yield the rows of a group: each case's name, request, responses and record."""
    for row in rows:
        yield case(name, *row, **options)


def table(key_pairs: KeyPairs) -> tuple[Case, ...]:
    """Return all rows, numbered, for these key pairs.

    The last one is sent just before the server is asked to stop: the outcome is not written yet at that moment, for it
    waits a second for others (`batch_delay`).
    """
    from proofs.conformance.cases import authorization, connections, forwarding, options, paths, uploads, websockets

    subjects = (authorization, paths, connections, uploads, forwarding, options, websockets)
    rows = [row for subject in subjects for row in subject.cases(key_pairs)]
    rows.append(case(STOP, "a right key pair just before", http(key_pairs.basic), WHO, "accepted"))
    assert len(rows) == len({row.title for row in rows}), "two cases have one title"
    return tuple(replace(row, number=number) for number, row in enumerate(rows, 1))
