"""How long cached key records may be used without asking the database. No I/O, no threads: times are passed in.

After a successful read of the change feed they are trusted for a second. For longer, up to the grace period of an
outage, only if a read was tried and failed while this process ran without a pause. So trust ends by itself when the
process is stopped, frozen or suspended, or its threads do not run: then records are loaded again before use.
"""

import threading
from math import inf

from octy_middleware.keys.key_record import CachedRecords

TICK_INTERVAL = 0.2  # seconds between two calls of `CacheTrust.tick`
TRUST_TTL = 1.0  # seconds after a read, or a failed one: a revoked key pair is refused within a second
_READ_TIMEOUT = 0.5  # seconds after which a read counts as failed
_PAUSE_THRESHOLD = 0.75  # seconds between two ticks that count as a pause of the process


class CacheTrust:
    """Sets `CachedRecords.trusted_until`. Safe for threads. Times are seconds of a clock that counts suspended time."""

    def __init__(self, memory: CachedRecords, grace_period: float) -> None:
        """`grace_period`: seconds since the last successful read for which records are used during an outage."""
        self._memory = memory
        self._grace_period = grace_period
        self._lock = threading.Lock()
        self._last_read_at = -inf  # start of the last successful read
        self._read_started_at: float | None = None  # of the read in progress; None also after a pause during it
        self._last_tick_at = -inf
        self._unreported_pause = 0.0  # seconds that `tick` has not returned yet
        memory.trusted_until = -inf

    def begin(self, now: float) -> None:
        """Note the start of a read."""
        with self._lock:
            self._note_time(now)
            self._read_started_at = now

    def succeed(self, started_at: float) -> None:
        """Trust the cache since `started_at`. Call it when the changes of the read are dropped from the cache."""
        with self._lock:
            self._read_started_at = None
            self._last_read_at = started_at
            self._memory.trusted_until = started_at + min(TRUST_TTL, self._grace_period)

    def fail(self, now: float) -> None:
        """Extend the trust by a second, unless the process was paused during the read, which may be why it failed."""
        with self._lock:
            self._note_time(now)
            if self._read_started_at is not None:
                self._extend(now)
            self._read_started_at = None

    def tick(self, now: float) -> float:
        """Note that this process runs. Return for how many seconds it was paused since the last call, or 0.0."""
        with self._lock:
            self._note_time(now)
            if self._read_started_at is not None and now - self._read_started_at > _READ_TIMEOUT:
                self._extend(now)
            paused, self._unreported_pause = self._unreported_pause, 0.0
            return paused

    def _note_time(self, now: float) -> None:
        """Note the time; a long gap between two calls is a pause."""
        since, self._last_tick_at = now - self._last_tick_at, now
        if _PAUSE_THRESHOLD < since < inf:
            self._read_started_at = None
            self._unreported_pause += since

    def _extend(self, now: float) -> None:
        self._memory.trusted_until = min(self._last_read_at + self._grace_period, now + TRUST_TTL)
