"""Time and identity as values that are passed in.

Here: the clock type every other room takes as an argument, conversions, and UUIDv7. Not here: anything that
decides by time.
"""

import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

Clock = Callable[[], float]
"""Unix time in seconds, as `time.time` gives it."""

RandomBytes = Callable[[int], bytes]
"""So many random bytes, as `secrets.token_bytes` gives them."""

elapsed: Clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC)
"""Seconds that never go back and that count while the machine is suspended, which `time.monotonic` does not do."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(seconds: float) -> datetime:
    """Return Unix seconds as an aware UTC datetime."""
    return EPOCH + timedelta(microseconds=to_micros(seconds))


def to_micros(seconds: float) -> int:
    """Return Unix seconds as whole microseconds, the form in which every time column is stored."""
    return round(seconds * 1_000_000)


def uuid7(now: float, random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Return a UUIDv7 (RFC 9562, 5.7) as text: 48 bits of Unix milliseconds, then 74 random bits."""
    stamp = int(now * 1000) & (1 << 48) - 1
    random = int.from_bytes(random_bytes(10))
    text = f"{stamp:012x}{0x7 << 12 | random >> 68 & 0xFFF:04x}{0b10 << 62 | random & (1 << 62) - 1:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
