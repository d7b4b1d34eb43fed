"""Room for work that takes long: a few at a time, a bounded number waiting, few of them for one source.

Here: the bounds. Not here: the work, which is verifying imported hashes (`gate`): argon2 and its kin take up to
hundreds of milliseconds each, and whoever sends their public keys must not use up the machine.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from octy_middleware.forking import restart_after_fork

Result = TypeVar("Result")
_OF_ONE = 4  # places of one source, so that it does not use up the threads of a server


class SlowLane:
    """Runs at most `width` calls at once, while at most `queue` more wait. Safe for threads and after fork."""

    def __init__(self, *, width: int, queue: int) -> None:
        self._width = width
        self._queue = queue
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Begin with an empty lane."""
        self._running = threading.BoundedSemaphore(self._width)
        self._places: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, work: Callable[[], Result], *, who: str) -> Result | None:
        """Return what the work returns, after those before it; None at once when too many wait, of all or of `who`."""
        if not self._enter(who):
            return None
        try:
            with self._running:
                return work()
        finally:
            self._leave(who)

    def _enter(self, who: str) -> bool:
        with self._lock:
            if self._places.total() >= self._width + self._queue or self._places[who] >= _OF_ONE:
                return False
            self._places[who] += 1
            return True

    def _leave(self, who: str) -> None:
        with self._lock:
            self._places[who] -= 1
            self._places += Counter()  # drops those without a place
