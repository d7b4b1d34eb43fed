"""Bytes -> other bytes: what transport, terminals, editors and attackers do to a text.

Here: changes that know nothing of what they change. Not here: the grammar of a header (`headers`).
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")
Mutation = Callable[[Random, bytes], bytes]

CONTROLS = [bytes([code]) for code in (*range(32), 127)]
INTERESTING = (
    *(
        b",",
        b", ",
        b",Basic ",
        b", basic ",
        b";",
        b":",
        b"::",
        b"=",
        b"==",
        b"====",
        b'"',
        b"'",
        b"\\",
        b"%00",
        b"/",
        b"+",
    ),
    *(b"\x00", b"\r\n", b"\n", b"\r", b"\t", b"\x1b[2J", b"\x7f", b"\x80", b"\x9b", b"\xa0", b"\xff", b"\xc2\xa0"),
    *(b" ", b"   ", b"-", b"_", b"!", b"*", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf"),
    *(text.encode() for text in ("\u202e", "\u200b", "\u2028", "\uff1a", "\uff0c", "\u043a", "\u017f", "\U0001f511")),
)


def pick(rng: Random, some: Sequence[Item]) -> Item:
    """Return one of them; `Random.choice` takes three times as long, and this is done a hundred million times."""
    return some[int(rng.random() * len(some))]


def flip(rng: Random, data: bytes) -> bytes:
    """Change one bit."""
    if not data:
        return data
    at = int(rng.random() * len(data))
    return data[:at] + bytes([data[at] ^ (1 << int(rng.random() * 8))]) + data[at + 1 :]


def replace(rng: Random, data: bytes) -> bytes:
    """Put any byte in the place of another."""
    at = int(rng.random() * (len(data) + 1))
    return data[:at] + bytes([int(rng.random() * 256)]) + data[at + 1 :]


def insert(rng: Random, data: bytes) -> bytes:
    """Put something that has a meaning somewhere to where it has none."""
    at = int(rng.random() * (len(data) + 1))
    return data[:at] + pick(rng, INTERESTING) + data[at:]


def insert_control(rng: Random, data: bytes) -> bytes:
    at = int(rng.random() * (len(data) + 1))
    return data[:at] + pick(rng, CONTROLS) + data[at:]


def delete(rng: Random, data: bytes) -> bytes:
    """Lose a few bytes."""
    at = int(rng.random() * (len(data) + 1))
    return data[:at] + data[at + 1 + int(rng.random() * 4) :]


def truncate(rng: Random, data: bytes) -> bytes:
    return data[: int(rng.random() * (len(data) + 1))]


def duplicate(rng: Random, data: bytes) -> bytes:
    """Say a part of it twice."""
    at = int(rng.random() * (len(data) + 1))
    end = at + int(rng.random() * 24)
    return data[:end] + data[at:]


def swap_case(_rng: Random, data: bytes) -> bytes:
    return data.swapcase()


def surround(rng: Random, data: bytes) -> bytes:
    """Put quotes, brackets or white space around it."""
    before, after = pick(rng, ((b'"', b'"'), (b"<", b">"), (b" ", b" "), (b"\t", b""), (b"", b"\n"), (b"[", b"]")))
    return before + data + after


ANY: Sequence[Mutation] = (
    flip,
    replace,
    insert,
    insert,
    insert_control,
    delete,
    truncate,
    duplicate,
    swap_case,
    surround,
)


def mutate(rng: Random, data: bytes) -> bytes:
    """Apply one change, seldom more."""
    data = pick(rng, ANY)(rng, data)
    while rng.random() < 0.2:
        data = pick(rng, ANY)(rng, data)
    return data


def splice(rng: Random, first: bytes, second: bytes) -> bytes:
    """Begin as one and end as the other."""
    return first[: int(rng.random() * (len(first) + 1))] + second[int(rng.random() * (len(second) + 1)) :]


def noise(rng: Random, longest: int) -> bytes:
    """Bytes from nothing, most often few."""
    return rng.randbytes(int(longest * rng.random() ** 3))
