"""Random edits of requests that Hypothesis has made: a hundred times faster than generating each."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from random import Random

from proofs.fuzz.request import FuzzRequest

PIECES = (
    *(b",", b", ", b",Basic ", b", basic ", b";", b":", b"::", b"=", b"==", b"====", b'"', b"'", b"\\", b"%00", b"/"),
    *(b"\x00", b"\r\n", b"\n", b"\r", b"\t", b"\x1b[2J", b"\x7f", b"\x80", b"\x9b", b"\xa0", b"\xff", b"\xc2\xa0"),
    *(b"", b" ", b"   ", b"-", b"_", b"!", b"*", b"+", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"0", b"a", b"Z"),
    *(text.encode() for text in ("\u202e", "\u200b", "\u2028", "\uff1a", "\uff0c", "\u043a", "\u017f", "\U0001f511")),
)
"""What has a meaning to some parser: separators, controls, white space, look-alikes, invalid UTF-8."""


_LETTERS = [bytes([code]) for code in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"]
_USUAL = FuzzRequest()


def edit(data: bytes, at: int, removed: int, piece: bytes) -> bytes:
    """Put `piece` in the place of `removed` bytes; `at` may be larger than the data."""
    at %= len(data) + 1
    return data[:at] + piece + data[at + removed :]


def mutate(rng: Random, corpus: Sequence[FuzzRequest]) -> FuzzRequest:
    """Return a request with the edited values of one request and the rest of another."""
    values, other = rng.choice(corpus).values, rng.choice(corpus) if rng.random() < 0.4 else _USUAL
    if values and rng.random() < 0.4:
        values = (_mutate_value(rng, values[0], other.values), *values[1:])
    headers, path = other.headers, other.path
    if headers and rng.random() < 0.1:
        at = rng.randrange(len(headers))
        name, value = headers[at]
        headers = (*headers[:at], (name, _random_edit(rng, value, (value,))), *headers[at + 1 :])
    if rng.random() < 0.02:
        edited = _random_edit(rng, path.encode("utf-8", "surrogateescape"), (b"/static/../",))
        path = edited.decode("utf-8", "replace")
    return FuzzRequest(values, other.setup, other.peer, other.scheme, other.method, path, headers)


def _mutate_value(rng: Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """Edit what the base64 holds where it is valid, so that the edit gets past the decoder, or the value itself."""
    if rng.random() < 0.6:
        scheme, space, token = value.rpartition(b" ")
        try:
            decoded = b64decode(token, validate=True)
        except ValueError:
            return _random_edit(rng, value, others)
        return scheme + space + b64encode(_random_edit(rng, decoded, (decoded,)))
    return _random_edit(rng, value, others)


def _random_edit(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Apply one edit, sometimes more; what is put in may be a part of one of the others."""
    while True:
        kind = rng.random()
        if kind < 0.3:
            piece = rng.choice(PIECES)
        elif kind < 0.8:
            piece = rng.choice(_LETTERS)
        elif kind < 0.95 or not others:
            piece = rng.randbytes(1)
        else:
            other = rng.choice(others)
            piece = other[rng.randrange(len(other) + 1) :]
        removed = rng.choice((0, len(piece), len(piece), rng.randrange(4), len(data)))
        data = edit(data, rng.randrange(len(data) + 1), removed, piece)
        if rng.random() < 0.8:
            return data
