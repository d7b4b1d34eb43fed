"""Room for work that takes long: a few at a time, a bounded number waiting, no more.

Here: the two bounds. Not here: the work, which is verifying imported hashes (`gate`): argon2 and its kin take up to
hundreds of milliseconds each, and whoever sends their public keys must not use up the machine.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from octy_middleware.forking import restart_after_fork

Result = TypeVar("Result")


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
        self._places = threading.BoundedSemaphore(self._width + self._queue)

    def run(self, work: Callable[[], Result]) -> Result | None:
        """Return what the work returns, after those before it; or None at once when too many wait."""
        if not self._places.acquire(blocking=False):
            return None
        try:
            with self._running:
                return work()
        finally:
            self._places.release()
