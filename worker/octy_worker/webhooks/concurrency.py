"""Limits how many of a worker's webhook slots one account, slow servers and retries can use."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

SLOTS = 16  # concurrent requests of one worker
MAX_PER_ACCOUNT = 4  # concurrent requests of one account
_MAX_AFTER_FAILURE = 1  # for an account whose last request failed or timed out
_RETRY_FRACTION = 2  # at most 1/n of the slots are for retries, which have a longer timeout
_MAX_REMEMBERED = 10_000  # failed accounts; at this number the set is cleared


class ConcurrencyLimiter:
    """The limits of one process. Thread-safe."""

    def __init__(self, slots: int) -> None:
        self._retries_at_once = max(1, slots // _RETRY_FRACTION)
        self._lock = threading.Lock()
        self._active: Counter[str] = Counter()
        self._retries = 0
        self._failed: set[str] = set()

    @contextmanager
    def slot(self, account_id: str, *, first_attempt: bool) -> Iterator[bool]:
        """Hold a slot for the duration of a request. Yields False when the account or the retries have no free slot."""
        granted = self._enter(account_id, first_attempt=first_attempt)
        try:
            yield granted
        finally:
            if granted:
                self._leave(account_id, first_attempt=first_attempt)

    def record_result(self, account_id: str, *, succeeded: bool) -> None:
        """Remember whether the account's last request succeeded."""
        with self._lock:
            if succeeded:
                self._failed.discard(account_id)
                return
            if len(self._failed) >= _MAX_REMEMBERED:
                self._failed.clear()
            self._failed.add(account_id)

    def _enter(self, account_id: str, *, first_attempt: bool) -> bool:
        with self._lock:
            limit = _MAX_AFTER_FAILURE if account_id in self._failed else MAX_PER_ACCOUNT
            if self._active[account_id] >= limit:
                return False
            if not first_attempt and self._retries >= self._retries_at_once:
                return False
            self._active[account_id] += 1
            self._retries += not first_attempt
            return True

    def _leave(self, account_id: str, *, first_attempt: bool) -> None:
        with self._lock:
            self._active[account_id] -= 1
            if not self._active[account_id]:
                del self._active[account_id]
            self._retries -= not first_attempt
