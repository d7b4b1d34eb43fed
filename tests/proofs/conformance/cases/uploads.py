"""Cases of bodies: refused before they are read, accepted whole, and trailers that are no headers."""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import Case, case, http
from proofs.conformance.raw_http import RawConnection
from proofs.conformance.response_text import INVALID, MISSING, WHO, describe

_LARGE = 10_000_000
_TIMEOUT = 1.5  # seconds: a response that waits for the body would never come
_BODY = bytes(range(256)) * 1200
_HEADERS_END = b"\r\n\r\n"


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    yield from _refused(key_pairs)
    yield from _accepted(key_pairs)
    yield from _trailers(key_pairs)


def _upload(*lines: bytes, body: bytes = b"") -> bytes:
    return http(*lines, method=b"POST", path=b"/upload", body=body)


def _refused(key_pairs: KeyPairs) -> Iterator[Case]:
    wrong = key_pairs.wrong
    length, chunked, expect = b"Content-Length: %d" % _LARGE, b"Transfer-Encoding: chunked", b"Expect: 100-continue"
    for name, request, response, outcome in (
        ("5 bytes of 10 MB, no credentials", _upload(length, body=b"hello"), MISSING, "missing"),
        ("5 bytes of 10 MB, wrong secret", _upload(length, wrong, body=b"hello"), INVALID, "wrong_secret"),
        ("a chunk of an endless body", _upload(chunked, wrong, body=b"5\r\nhello\r\n"), INVALID, "wrong_secret"),
        ("asked whether to continue with 10 MB", _upload(length, expect, wrong), INVALID, "wrong_secret"),
        ("asked whether to continue with chunks", _upload(chunked, expect, wrong), INVALID, "wrong_secret"),
    ):
        yield case("refused uploads", name, request, response, outcome, conversation=unfinished_body)


def _accepted(key_pairs: KeyPairs) -> Iterator[Case]:
    whole, length = f'200 {{"length": {len(_BODY)}}}', b"Content-Length: %d" % len(_BODY)
    chunked = b"Transfer-Encoding: chunked"
    yield case("accepted uploads", "of a known length", _upload(key_pairs.basic, length, body=_BODY), whole, "accepted")
    request = _upload(key_pairs.basic, chunked, body=_chunks(_BODY))
    yield case("accepted uploads", "in chunks", request, whole, "accepted")
    request = _upload(key_pairs.basic, length, b"Expect: 100-continue", body=_BODY)
    yield case("accepted uploads", "after 100", request, ("100", whole), "accepted", conversation=after_continue)


def _trailers(key_pairs: KeyPairs) -> Iterator[Case]:
    """Return chunked requests with fields after the body: no server may take them for headers (RFC 9110 6.5.1)."""
    wrong = key_pairs.wrong
    for name, line, trailer, response, outcome in (
        ("right key pair as a trailer", b"", key_pairs.basic, MISSING, "missing"),
        ("wrong secret as a trailer of the right key pair", key_pairs.basic, wrong, WHO, "accepted"),
        ("forged source as a trailer", b"", b"X-Forwarded-For: 203.0.113.66", MISSING, "missing"),
        ("forged scheme as a trailer", b"", b"X-Forwarded-Proto: http", MISSING, "missing"),
    ):
        lines = (b"Transfer-Encoding: chunked", *filter(None, [line]))
        request = http(*lines, method=b"POST", body=b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n")
        yield case("trailers", name, request, response, outcome)


def _chunks(body: bytes) -> bytes:
    pieces = [body[start : start + 70_000] for start in range(0, len(body), 70_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def unfinished_body(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Send the beginning of a body and never the rest: the response must come all the same."""
    connection.send(request)
    yield describe(connection.read_response(timeout=_TIMEOUT))


def after_continue(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Send the body when the server has said 100."""
    head, _, body = request.partition(_HEADERS_END)
    connection.send(head + _HEADERS_END)
    yield str(connection.read_interim())
    connection.send(body)
    yield describe(connection.read_response())
