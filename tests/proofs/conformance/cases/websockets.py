"""Cases of WebSockets (ASGI only): refused before they are accepted, with the whole refusal as the response."""

from collections.abc import Iterator
from typing import Any

from support.world import basic

from proofs.conformance.accounts import UNKNOWN, KeyPairs
from proofs.conformance.cases import ID, SOURCE, Case, group, http
from proofs.conformance.raw_http import RawConnection
from proofs.conformance.response_text import AMBIGUOUS, HSTS, INVALID, MALFORMED, MISSING, PLAIN, describe

_UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)
_CLOSE = 8  # the opcode


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    right, wrong = key_pairs.basic, key_pairs.wrong
    unknown = b"Authorization: " + basic(UNKNOWN, "x").encode()
    forged = (b"X-Forwarded-Proto: https", b"X-Forwarded-For: 203.0.113.66")
    yield from group(
        "WebSocket",
        ("socket without credentials", _socket(), MISSING, "missing"),
        ("socket and a malformed header", _socket(b"Authorization: Bearer x"), MALFORMED, "malformed"),
        ("socket and two lines", _socket(right, wrong), AMBIGUOUS, "ambiguous"),
        ("socket and a wrong secret", _socket(wrong), INVALID, "wrong_secret"),
        ("socket and an unknown key", _socket(unknown), INVALID, "unknown_key"),
        ("mounted socket without credentials", _socket(path=b"/mounted/ws"), MISSING, "missing"),
        ("socket over plain HTTP", _socket(right, front=(SOURCE, ID)), PLAIN, "plain_http"),
        (
            "socket, no proxy trusted",
            _socket(*forged, right, front=(ID,), host=b"alone.example"),
            PLAIN,
            "plain_http from 127.0.0.1",
        ),
        ("socket and HSTS", _socket(host=b"hsts.example"), MISSING + HSTS, "missing"),
        adapter="asgi",
    )
    words = ("101", "acme", "hi", "the end")
    yield from group(
        "WebSocket",
        ("socket and the right key pair", _socket(right), words, "accepted"),
        ("mounted socket and the right key pair", _socket(right, path=b"/mounted/ws"), words, "accepted"),
        conversation=websocket_echo,
        adapter="asgi",
    )


def _socket(*lines: bytes, path: bytes = b"/ws", **options: Any) -> bytes:
    return http(*_UPGRADE, *lines, path=path, **options)


def websocket_echo(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Open the socket, read who one is, send hi, read it back, and see it closed."""
    connection.send(request)
    response = connection.read_response()
    yield describe(response)
    if response.status != 101:
        return
    yield connection.read_frame()[1].decode()
    connection.send_text(b"hi")
    yield connection.read_frame()[1].decode()
    opcode, _ = connection.read_frame()
    yield "the end" if opcode == _CLOSE else f"a frame of kind {opcode}"
