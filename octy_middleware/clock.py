"""Clocks, time conversions and UUIDv7."""

import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

Clock = Callable[[], float]
"""Returns Unix time in seconds, as `time.time` does."""

RandomBytes = Callable[[int], bytes]
"""Returns the given number of random bytes, as `secrets.token_bytes` does."""

elapsed: Clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC)
"""Monotonic seconds that include the time in which the machine is suspended, unlike `time.monotonic`."""

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
