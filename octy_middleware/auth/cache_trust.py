"""How long key records in memory may be used without asking the database. No I/O, no threads: times are passed in.

A successful read of the change feed is trusted for a second. Longer, up to the grace period of an outage, only after a
read was tried and failed while this process ran without a pause. So trust ends by itself where the process is stopped,
frozen or suspended, or where its threads don't run: what was revoked meanwhile is looked up first.
"""

import threading
from math import inf

from octy_middleware.keys.key_record import Memory

TICK = 0.2  # seconds between two calls of `CacheTrust.tick`
_TRUSTED = 1.0  # seconds that one read, or one failed try, is trusted for: a revoked pair stops within a second
_SLOW = 0.5  # seconds after which a read that gives no answer counts as failed
_PAUSED = 0.75  # seconds without a tick that are a pause of the process


class CacheTrust:
    """Sets `Memory.trusted_until`. Safe for threads. All times are seconds of one clock that counts suspended time."""

    def __init__(self, memory: Memory, grace_period: float) -> None:
        """`grace_period`: seconds since the last successful read for which a failing database is bridged."""
        self._memory = memory
        self._grace_period = grace_period
        self._lock = threading.Lock()
        self._read_at = -inf  # when the last successful read began
        self._begun: float | None = None  # when the read under way began; None once a pause has made it worthless
        self._ticked = -inf
        self._paused = 0.0  # of pauses that `tick` has not returned yet
        memory.trusted_until = -inf

    def begin(self, now: float) -> None:
        """Note that a read begins."""
        with self._lock:
            self._note_time(now)
            self._begun = now

    def succeed(self, begun: float) -> None:
        """CacheTrust memory since `begun`. Call it once what the read has told is dropped from memory."""
        with self._lock:
            self._begun = None
            self._read_at = begun
            self._memory.trusted_until = begun + min(_TRUSTED, self._grace_period)

    def fail(self, now: float) -> None:
        """Bridge the outage for a moment, unless the process was paused during the read: that may be why it failed."""
        with self._lock:
            self._note_time(now)
            if self._begun is not None:
                self._bridge(now)
            self._begun = None

    def tick(self, now: float) -> float:
        """Note that this process runs. Return how long it has not run since the last call, or 0.0."""
        with self._lock:
            self._note_time(now)
            if self._begun is not None and now - self._begun > _SLOW:
                self._bridge(now)
            paused, self._paused = self._paused, 0.0
            return paused

    def _note_time(self, now: float) -> None:
        """Note the time; a gap between two such times is a pause."""
        since, self._ticked = now - self._ticked, now
        if _PAUSED < since < inf:
            self._begun = None
            self._paused += since

    def _bridge(self, now: float) -> None:
        self._memory.trusted_until = min(self._read_at + self._grace_period, now + _TRUSTED)
