"""A rate limit for wrong attempts of one source; beyond it they get 429. Off by default; right secrets are not limited.

It is the generic cell rate algorithm (GCRA, ITU-T I.371), one time a source. Each process counts for itself: the limit
sheds load, and the 256 bits of a secret are what protects it.
"""

import threading
import time

from octy_middleware.clock import Clock
from octy_middleware.process.fork import restart_after_fork

_MAX_SOURCES = 65_536  # kept at most, since attackers choose their addresses freely


class RateLimit:
    """Allows `rate` attempts a minute and source, which may come in one burst. Safe for threads."""

    def __init__(self, rate: int, *, monotonic: Clock = time.monotonic) -> None:
        self._interval = 60.0 / rate
        self._burst = self._interval * (rate - 1)
        self._monotonic = monotonic
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Start empty, in a forked child."""
        self._due_at: dict[str, float] = {}  # by source, oldest first: when its next attempt is due at the given rate
        self._lock = threading.Lock()

    def count_attempt(self, source: str) -> float:
        """Count one wrong attempt; return 0.0, or the seconds until the next one is within the rate."""
        with self._lock:
            now = self._monotonic()
            due = max(self._due_at.get(source, now), now)
            if due - now > self._burst:
                return due - now - self._burst
            self._due_at.pop(source, None)
            self._due_at[source] = due + self._interval
            if len(self._due_at) > _MAX_SOURCES:
                del self._due_at[next(iter(self._due_at))]
            return 0.0
