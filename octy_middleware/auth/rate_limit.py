"""A rate for wrong attempts of one source, beyond which they get 429. Off unless configured; never for a right pair.

Here: the generic cell rate algorithm (GCRA, ITU-T I.371), one time a source. Not here: what is wrong (`authenticator`),
and how 429 looks (`refusal`). Each process counts for itself: this sheds load and tells a client to slow down, it
guards nothing; the secrets' 256 bits do.
"""

import threading
import time

from octy_middleware.clock import Clock
from octy_middleware.process.fork import restart_after_fork

_MAX_SOURCES = 65_536  # remembered at most; attackers choose their addresses freely


class RateLimit:
    """Allows `rate` attempts a minute and source, all of them at once if need be. Safe for threads."""

    def __init__(self, rate: int, *, monotonic: Clock = time.monotonic) -> None:
        self._interval = 60.0 / rate
        self._burst = self._interval * (rate - 1)
        self._monotonic = monotonic
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._due_at: dict[str, float] = {}  # when the source's next attempt is due if it kept to the rate, by age
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
