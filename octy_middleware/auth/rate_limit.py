"""A rate limit for wrong attempts of one source; beyond it they get 429. Off by default; right secrets are not limited.

It is the generic cell rate algorithm (GCRA, ITU-T I.371), one time a source. Each process counts for itself: the limit
sheds load, and the 256 bits of a secret are what protects it.
"""

import threading
import time

from octy_middleware.clock import Clock
from octy_middleware.process.fork import restart_after_fork


class RateLimit:
    """Allows `rate` attempts a minute and source, which may come in one burst. Safe for threads."""

    def __init__(self, rate: int, *, max_sources: int = 65_536, monotonic: Clock = time.monotonic) -> None:
        """At most `max_sources` are kept, since attackers choose their addresses freely."""
        self._max_sources = max_sources
        self._interval = 60.0 / rate
        self._burst = self._interval * (rate - 1)
        self._monotonic = monotonic
        self.restart()
        restart_after_fork(self)

    def __len__(self) -> int:
        """Return the number of sources that are kept."""
        return len(self._due_at)

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
            if len(self._due_at) > self._max_sources:
                del self._due_at[next(iter(self._due_at))]
            return 0.0
