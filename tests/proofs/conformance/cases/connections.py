"""Cases of connections: HEAD, keep-alive after every kind of answer, pipelining, and answers equal to the byte."""

import re
from collections.abc import Iterator

from support.world import basic

from proofs.conformance.accounts import UNKNOWN, KeyPairs
from proofs.conformance.cases import ID, SOURCE, THEN, Case, case, http
from proofs.conformance.raw_http import RawConnection
from proofs.conformance.response_text import (
    AMBIGUOUS,
    CLOSED,
    INVALID,
    MALFORMED,
    MISSING,
    OPEN,
    OVERSIZE,
    PLAIN,
    WHO,
    describe,
)

SAME = "the same bytes"


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    yield from _heads(key_pairs)
    yield from _kept(key_pairs)
    yield from _several(key_pairs)


def _heads(key_pairs: KeyPairs) -> Iterator[Case]:
    right = THEN + http(key_pairs.basic)
    wrong = key_pairs.wrong
    for name, lines, answer, outcome in (
        ("HEAD without credentials", (), MISSING, "missing"),
        ("HEAD and a wrong secret", (wrong,), INVALID, "wrong_secret"),
        ("HEAD and two lines", (key_pairs.basic, wrong), AMBIGUOUS, "ambiguous"),
    ):
        yield case("HEAD", name, http(*lines, method=b"HEAD") + right, (answer, WHO), f"accepted, {outcome}")
    request = http(key_pairs.basic, method=b"HEAD") + right
    yield case(
        "HEAD", "HEAD and the right pair", request, (f"200 with no body of {len(WHO) - 4} bytes", WHO), "2 × accepted"
    )
    request = http(path=b"/open", method=b"HEAD") + right
    yield case(
        "HEAD", "HEAD of an exempt path", request, (f"200 with no body of {len(OPEN) - 4} bytes", WHO), "accepted"
    )


def _kept(key_pairs: KeyPairs) -> Iterator[Case]:
    right = http(key_pairs.basic)
    wrong = key_pairs.wrong
    unknown = b"Authorization: " + basic(UNKNOWN, "x").encode()
    body = b'{"a": "body"}'
    posted = http(wrong, b"Content-Length: %d" % len(body), method=b"POST", path=b"/upload", body=body)
    for name, request, answer, outcome in (
        ("missing", http(), MISSING, "missing"),
        ("malformed", http(b"Authorization: Bearer x"), MALFORMED, "malformed"),
        ("ambiguous", http(key_pairs.basic, wrong), AMBIGUOUS, "ambiguous"),
        ("oversize", http(b"Authorization: " + b"x" * 2000), OVERSIZE, "oversize"),
        ("a wrong secret", http(wrong), INVALID, "wrong_secret"),
        ("an unknown key", http(unknown), INVALID, "unknown_key"),
        ("plain HTTP", http(key_pairs.basic, front=(SOURCE, ID)), PLAIN, "plain_http"),
        ("a refused body", posted, INVALID, "wrong_secret"),
    ):
        yield case(
            "keep-alive",
            f"right pair on the same connection after {name}",
            request + THEN + right,
            (answer, WHO),
            f"accepted, {outcome}",
        )
    request = right + THEN + http(wrong) + THEN + right
    yield case("keep-alive", "right, wrong, right", request, (WHO, INVALID, WHO), "2 × accepted, wrong_secret")
    request = http(b"Connection: close") + THEN + right
    yield case("keep-alive", "refused and asked to close", request, (MISSING, CLOSED), "missing")
    request = http().replace(b"HTTP/1.1", b"HTTP/1.0") + THEN + right
    yield case("keep-alive", "refused over HTTP/1.0", request, (MISSING, CLOSED), "missing")


def _several(key_pairs: KeyPairs) -> Iterator[Case]:
    right, none = http(key_pairs.basic), http()
    values = (
        basic(UNKNOWN, "x"),
        key_pairs.right.basic("x"),
        key_pairs.right.basic(""),
        key_pairs.retired.basic(),
        key_pairs.retired.basic("x"),
    )
    request = THEN.join(http(b"Authorization: " + value.encode()) for value in values)
    recorded = "retired, retired_wrong, unknown_key, 2 × wrong_secret"
    yield case(
        "equal bytes", "unknown, wrong, empty, retired: whole answers", request, SAME, recorded, conversation=same_bytes
    )
    wrong = http(b"Authorization: " + key_pairs.right.basic("x").encode())
    request = THEN.join((none, right, wrong))
    yield case(
        "pipelining",
        "missing, right, wrong at once",
        request,
        (MISSING, WHO, INVALID),
        "accepted, missing, wrong_secret",
        conversation=at_once,
    )
    posted = http(b"Content-Length: 5", method=b"POST", path=b"/upload", body=b"hello")
    request = posted + THEN + right
    yield case(
        "pipelining",
        "a refused body, then right, at once",
        request,
        (MISSING, WHO),
        "accepted, missing",
        conversation=at_once,
    )


def at_once(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Send all requests in one go, and read as many answers."""
    connection.send(request.replace(THEN, b""))
    for _ in request.split(THEN):
        yield describe(connection.read_response())


def same_bytes(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Compare whole answers, all but the Date, each on a connection of its own."""
    raw = set()
    for part in request.split(THEN):
        connection.send(part)
        raw.add(re.sub(rb"(?i)\r\ndate: [^\r]*", b"", connection.read_response().raw))
        connection.reconnect()
    yield SAME if len(raw) == 1 else f"{len(raw)} different answers"
