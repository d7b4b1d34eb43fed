"""Cases of WebSockets (ASGI only): refused before they are accepted, with the whole refusal as the answer."""

from collections.abc import Iterator

from support.world import basic

from proofs.conformance.accounts import UNKNOWN, KeyPairs
from proofs.conformance.cases import ID, SOURCE, Case, case, http
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
    wrong = key_pairs.wrong
    unknown = b"Authorization: " + basic(UNKNOWN, "x").encode()
    for name, lines, answer, outcome in (
        ("socket without credentials", (), MISSING, "missing"),
        ("socket and a malformed header", (b"Authorization: Bearer x",), MALFORMED, "malformed"),
        ("socket and two lines", (key_pairs.basic, wrong), AMBIGUOUS, "ambiguous"),
        ("socket and a wrong secret", (wrong,), INVALID, "wrong_secret"),
        ("socket and an unknown key", (unknown,), INVALID, "unknown_key"),
    ):
        request = http(*_UPGRADE, *lines, path=b"/ws")
        yield case("WebSocket", name, request, answer, outcome, adapter="asgi")
    request = http(*_UPGRADE, path=b"/mounted/ws")
    yield case("WebSocket", "mounted socket without credentials", request, MISSING, "missing", adapter="asgi")
    request = http(*_UPGRADE, key_pairs.basic, path=b"/ws", front=(SOURCE, ID))
    yield case("WebSocket", "socket in clear", request, PLAIN, "plain_http", adapter="asgi")
    lies = (b"X-Forwarded-Proto: https", b"X-Forwarded-For: 203.0.113.66")
    request = http(*_UPGRADE, *lies, key_pairs.basic, path=b"/ws", front=(ID,), host=b"alone.example")
    yield case("WebSocket", "socket, nobody trusted", request, PLAIN, "plain_http from 127.0.0.1", adapter="asgi")
    request = http(*_UPGRADE, path=b"/ws", host=b"hsts.example")
    yield case("WebSocket", "socket and HSTS", request, MISSING + HSTS, "missing", adapter="asgi")
    said = ("101", "acme", "hi", "the end")
    for name, path in (("socket and the right pair", b"/ws"), ("mounted socket and the right pair", b"/mounted/ws")):
        request = http(*_UPGRADE, key_pairs.basic, path=path)
        yield case("WebSocket", name, request, said, "accepted", conversation=websocket_echo, adapter="asgi")


def websocket_echo(connection: RawConnection, request: bytes) -> Iterator[str]:
    """Open the socket, hear who one is, say hi, hear it back, and see it closed."""
    connection.send(request)
    answer = connection.read_response()
    yield describe(answer)
    if answer.status != 101:
        return
    yield connection.read_frame()[1].decode()
    connection.send_text(b"hi")
    yield connection.read_frame()[1].decode()
    opcode, _ = connection.read_frame()
    yield "the end" if opcode == _CLOSE else f"a frame of kind {opcode}"
