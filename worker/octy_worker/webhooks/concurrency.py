"""ConcurrencyLimiter of a worker's webhook slots: no account, and no server that was slow, takes them all.

Here: who may post now. Not here: posting (`courier`, `activities.webhooks`), when what was held back is asked for again
(Temporal, after the delay that is returned).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

SLOTS = 16  # posts of one worker at once
MAX_PER_ACCOUNT = 4  # slots: an account's posts under way at once
_MAX_AFTER_FAILURE = 1  # of an account whose last post failed or timed out
_RETRY_FRACTION = 2  # one of so many slots at most is for second and later tries, which may take longer
_MAX_REMEMBERED = 10_000  # accounts that failed; then all are forgotten, and each is tried anew


class ConcurrencyLimiter:
    """The shares of one process with so many slots. Thread-safe."""

    def __init__(self, slots: int) -> None:
        self._retries_at_once = max(1, slots // _RETRY_FRACTION)
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._retries = 0
        self._failed: set[str] = set()

    @contextmanager
    def slot(self, account_id: str, *, first_try: bool) -> Iterator[bool]:
        """Take a place of the account's share for the duration of a post; False when there is none."""
        granted = self._enter(account_id, first_try=first_try)
        try:
            yield granted
        finally:
            if granted:
                self._leave(account_id, first_try=first_try)

    def record_result(self, account_id: str, *, succeeded: bool) -> None:
        """Remember how the account's last post ended."""
        with self._lock:
            if succeeded:
                self._failed.discard(account_id)
                return
            if len(self._failed) >= _MAX_REMEMBERED:
                self._failed.clear()
            self._failed.add(account_id)

    def _enter(self, account_id: str, *, first_try: bool) -> bool:
        with self._lock:
            share = _MAX_AFTER_FAILURE if account_id in self._failed else MAX_PER_ACCOUNT
            if self._under_way[account_id] >= share:
                return False
            if not first_try and self._retries >= self._retries_at_once:
                return False
            self._under_way[account_id] += 1
            self._retries += not first_try
            return True

    def _leave(self, account_id: str, *, first_try: bool) -> None:
        with self._lock:
            self._under_way[account_id] -= 1
            if not self._under_way[account_id]:
                del self._under_way[account_id]
            self._retries -= not first_try
