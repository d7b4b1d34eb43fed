"""How long key records in memory may be used without asking the database. No I/O, no threads: times are passed in.

A successful read of the change feed is trusted for a second. Longer, up to the grace period of an outage, only after a
read was tried and failed while this process ran without a pause. So trust ends by itself where the process is stopped,
frozen or suspended, or where its threads don't run: what was revoked meanwhile is looked up first.
"""

import threading
from math import inf

from octy_middleware.keys.key_record import CachedRecords

TICK_INTERVAL = 0.2  # seconds between two calls of `CacheTrust.tick`
_TRUST_TTL = 1.0  # seconds that one read, or one failed try, is trusted for: a revoked pair stops within a second
_READ_TIMEOUT = 0.5  # seconds after which a read that gives no answer counts as failed
_PAUSE_THRESHOLD = 0.75  # seconds without a tick that are a pause of the process


class CacheTrust:
    """Sets `CachedRecords.trusted_until`. Safe for threads. All times are seconds of one clock that counts suspended time."""

    def __init__(self, memory: CachedRecords, grace_period: float) -> None:
        """`grace_period`: seconds since the last successful read for which a failing database is bridged."""
        self._memory = memory
        self._grace_period = grace_period
        self._lock = threading.Lock()
        self._last_read_at = -inf  # when the last successful read began
        self._read_started_at: float | None = (
            None  # when the read under way began; None once a pause has made it worthless
        )
        self._last_tick_at = -inf
        self._unreported_pause = 0.0  # of pauses that `tick` has not returned yet
        memory.trusted_until = -inf

    def begin(self, now: float) -> None:
        """Note that a read begins."""
        with self._lock:
            self._note_time(now)
            self._read_started_at = now

    def succeed(self, started_at: float) -> None:
        """CacheTrust memory since `started_at`. Call it once what the read has told is dropped from memory."""
        with self._lock:
            self._read_started_at = None
            self._last_read_at = started_at
            self._memory.trusted_until = started_at + min(_TRUST_TTL, self._grace_period)

    def fail(self, now: float) -> None:
        """Bridge the outage for a moment, unless the process was paused during the read: that may be why it failed."""
        with self._lock:
            self._note_time(now)
            if self._read_started_at is not None:
                self._extend(now)
            self._read_started_at = None

    def tick(self, now: float) -> float:
        """Note that this process runs. Return how long it has not run since the last call, or 0.0."""
        with self._lock:
            self._note_time(now)
            if self._read_started_at is not None and now - self._read_started_at > _READ_TIMEOUT:
                self._extend(now)
            paused, self._unreported_pause = self._unreported_pause, 0.0
            return paused

    def _note_time(self, now: float) -> None:
        """Note the time; a gap between two such times is a pause."""
        since, self._last_tick_at = now - self._last_tick_at, now
        if _PAUSE_THRESHOLD < since < inf:
            self._read_started_at = None
            self._unreported_pause += since

    def _extend(self, now: float) -> None:
        self._memory.trusted_until = min(self._last_read_at + self._grace_period, now + _TRUST_TTL)
