"""Cases of connections: HEAD, keep-alive after every kind of response, pipelining, and responses equal to the byte."""

from collections.abc import Iterator

from support.world import basic

from proofs.conformance.accounts import UNKNOWN, KeyPairs
from proofs.conformance.cases import ID, SOURCE, THEN, Case, case, group, http
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
    right, wrong = http(key_pairs.basic), http(key_pairs.wrong)
    unknown = http(b"Authorization: " + basic(UNKNOWN, "x").encode())
    two_lines = (key_pairs.basic, key_pairs.wrong)

    def head(*lines: bytes, path: bytes = b"/who") -> bytes:
        return http(*lines, method=b"HEAD", path=path) + THEN + right

    yield from group(
        "HEAD",
        ("HEAD without credentials", head(), (MISSING, WHO), "accepted, missing"),
        ("HEAD and a wrong secret", head(key_pairs.wrong), (INVALID, WHO), "accepted, wrong_secret"),
        ("HEAD and two lines", head(*two_lines), (AMBIGUOUS, WHO), "accepted, ambiguous"),
        ("HEAD and the right key pair", head(key_pairs.basic), (_bodiless(WHO), WHO), "2 × accepted"),
        ("HEAD of an exempt path", head(path=b"/open"), (_bodiless(OPEN), WHO), "accepted"),
    )
    upload = http(key_pairs.wrong, b"Content-Length: 13", method=b"POST", path=b"/upload", body=b'{"a": "body"}')
    for name, request, response, outcome in (
        ("missing", http(), MISSING, "missing"),
        ("malformed", http(b"Authorization: Bearer x"), MALFORMED, "malformed"),
        ("ambiguous", http(*two_lines), AMBIGUOUS, "ambiguous"),
        ("oversize", http(b"Authorization: " + b"x" * 2000), OVERSIZE, "oversize"),
        ("a wrong secret", wrong, INVALID, "wrong_secret"),
        ("an unknown key", unknown, INVALID, "unknown_key"),
        ("plain HTTP", http(key_pairs.basic, front=(SOURCE, ID)), PLAIN, "plain_http"),
        ("a refused body", upload, INVALID, "wrong_secret"),
    ):
        title, both = f"right key pair on the same connection after {name}", request + THEN + right
        yield case("keep-alive", title, both, (response, WHO), f"accepted, {outcome}")
    all_three, closing = THEN.join((right, wrong, right)), http(b"Connection: close") + THEN + right
    old = http().replace(b"HTTP/1.1", b"HTTP/1.0") + THEN + right
    yield from group(
        "keep-alive",
        ("right, wrong, right", all_three, (WHO, INVALID, WHO), "2 × accepted, wrong_secret"),
        ("refused and asked to close", closing, (MISSING, CLOSED), "missing"),
        ("refused over HTTP/1.0", old, (MISSING, CLOSED), "missing"),
    )
    keys, retired = key_pairs.right, key_pairs.retired
    values = (basic(UNKNOWN, "x"), keys.basic("x"), keys.basic(""), retired.basic(), retired.basic("x"))
    request = THEN.join(http(b"Authorization: " + value.encode()) for value in values)
    recorded = "retired, retired_wrong, unknown_key, 2 × wrong_secret"
    name = "unknown, wrong, empty, retired: whole responses"
    yield case("equal bytes", name, request, SAME, recorded, conversation=same_bytes)
    three, refused = (MISSING, WHO, INVALID), http(b"Content-Length: 5", method=b"POST", path=b"/upload", body=b"hello")
    yield from group(
        "pipelining",
        ("missing, right, wrong at once", THEN.join((http(), right, wrong)), three, "accepted, missing, wrong_secret"),
        ("a refused body, then right, at once", refused + THEN + right, (MISSING, WHO), "accepted, missing"),
        conversation=at_once,
    )


def _bodiless(response: str) -> str:
    """Return what the response to a HEAD says, where this is the one to a GET."""
    return f"200 with no body of {len(response) - 4} bytes"


def at_once(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Send all requests in one go, and read as many responses."""
    connection.send(request.replace(THEN, b""))
    for _ in request.split(THEN):
        yield describe(connection.read_response())


def same_bytes(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Compare whole responses, all but the Date, each on a connection of its own."""
    raw = set()
    for part in request.split(THEN):
        connection.send(part)
        raw.add(connection.read_response().without_date)
        connection.reconnect()
    yield SAME if len(raw) == 1 else f"{len(raw)} different responses"
