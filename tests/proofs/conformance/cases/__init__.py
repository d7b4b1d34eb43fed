"""THE table: what is sent, what must be answered, what must be on record afterwards. The same for every cell.

Here: what a case is, how its bytes are written, and the table put together. Not here: the cases, by subject in the
modules beside, and what differs where (`differences`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.raw_http import ConnectionClosed, NoResponse, NotHttp, RawConnection
from proofs.conformance.response_text import CLOSED, GARBLED, SILENT, describe

NOTHING = ""
HOST = b"api.example"
SECURE, SOURCE, ID = b"X-Forwarded-Proto: https", b"X-Forwarded-For: <source>", b"X-Request-Id: <id>"
FRONT = (SECURE, SOURCE, ID)
"""What the TLS proxy in front writes. The marks become an address and an id of the case's own."""


THEN = b"<then>"
"""Between the requests of one connection."""


class Conversation(Protocol):
    """How a case goes: it sends the request, by and by if need be, and tells each answer."""

    def __call__(self, wire: RawConnection, request: bytes) -> Iterator[str]: ...


@dataclass(frozen=True)
class Case:
    """One row. `answers`: in order. `recorded`: outcomes, with "from <source>" where that is not the case's own."""

    group: str
    name: str
    request: bytes
    answers: tuple[str, ...]
    recorded: str
    conversation: Conversation
    adapter: str = ""  # asgi or wsgi, where the case exists at one of them only
    number: int = 0

    @property
    def title(self) -> str:
        """What names it in reports and in `differences`."""
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
        """Conversation it on a connection of its own, and return what was answered."""
        told: list[str] = []
        with RawConnection(port) as wire:
            try:
                told.extend(self.conversation(wire, self.bytes))
            except ConnectionClosed:
                told.append(CLOSED)
            except NoResponse:
                told.append(SILENT)
            except NotHttp:
                told.append(GARBLED)
        return tuple(told)


def on_one_connection(wire: RawConnection, request: bytes) -> Iterator[str]:
    """Send request after request on one connection, each after the answer to the one before."""
    for part in request.split(THEN):
        wire.send(part)
        yield describe(wire.answer(head=part.startswith(b"HEAD ")))


def on_new_connections(wire: RawConnection, request: bytes) -> Iterator[str]:
    """Send request after request, each on a connection of its own."""
    for part in request.split(THEN):
        wire.send(part)
        yield describe(wire.answer())
        wire.reconnect()


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
    answers: str | tuple[str, ...],
    recorded: str,
    *,
    conversation: Conversation = on_one_connection,
    adapter: str = "",
) -> Case:
    """Make a row."""
    return Case(
        group, name, request, (answers,) if isinstance(answers, str) else answers, recorded, conversation, adapter
    )


def table(key_pairs: KeyPairs) -> tuple[Case, ...]:
    """Return all rows, numbered, for these pairs."""
    from proofs.conformance.cases import (
        authorization,
        connections,
        forwarding,
        options,
        paths,
        stops,
        uploads,
        websockets,
    )

    subjects = (authorization, paths, connections, uploads, forwarding, options, websockets, stops)
    rows = [row for subject in subjects for row in subject.cases(key_pairs)]
    titles = [row.title for row in rows]
    assert len(titles) == len(set(titles)), "two cases have one title"
    return tuple(replace(row, number=number) for number, row in enumerate(rows, 1))
