"""Limits concurrent slow hashes: a few run at once, a limited number waits, in the order of `hash_queue`.

An imported hash such as argon2 takes up to hundreds of milliseconds, and anybody can send public keys that need one.
The threads here wait for the processes that compute (`hash_processes`), then decide about the request. No thread waits
for its turn: a request that waits is an entry of the queue.
"""

import logging
import threading
from collections.abc import Callable

from octy_middleware.auth.hash_queue import HashQueue, HashRequest
from octy_middleware.process.fork import restart_after_fork

_logger = logging.getLogger(__name__)
_MAX_DECIDING = 4  # threads beyond those that compute: they wait for the database, and so does the next hash then


class HashLimiter:
    """Runs at most `max_running` hashes at once, while at most `max_waiting` more wait in the common queue.

    Requests that hold a thread of the server while they wait are limited to `max_blocked_threads`. Safe for threads and
    after fork.
    """

    def __init__(
        self,
        *,
        max_running: int,
        max_waiting: int,
        max_blocked_threads: int,
        on_idle: Callable[[], None] = lambda: None,
        idle_timeout: float = 60.0,
    ) -> None:
        """A thread without work ends after `idle_timeout` seconds; `on_idle` is called then."""
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_blocked_threads = max_blocked_threads
        self._on_idle = on_idle
        self._idle_timeout = idle_timeout
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Start empty and without threads, in a forked child."""
        self._changed = threading.Condition()
        self._queue = HashQueue(
            max_queued=self._max_running + self._max_waiting, max_blocked_threads=self._max_blocked_threads
        )
        self.threads = 0  # that compute, decide or wait for work
        self._running = 0  # hashes
        self._idle = 0

    def __len__(self) -> int:
        """Return how many requests are undecided."""
        with self._changed:
            return len(self._queue)

    def submit(self, request: HashRequest) -> None:
        """Have a request decided, later and in another thread; at once and in this one when it is turned away."""
        with self._changed:
            turned_away = self._queue.add(request)
            self._use_free_thread()
        if turned_away is not None:
            turned_away.decide(turned_away, None)

    def _use_free_thread(self) -> None:
        if not self._queue.has_work or self._running >= self._max_running:
            return
        if self._idle:
            self._changed.notify()
        elif self.threads < self._max_running + _MAX_DECIDING:
            self.threads += 1
            threading.Thread(target=self._work, name="octy-slow-hash", daemon=True).start()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            request, early = taken
            result = _compute(request)
            with self._changed:
                self._running -= 1
                is_decided = self._queue.finish(request, result, early=early)
                self._use_free_thread()
            if is_decided:
                _decide(request, result)
        self._on_idle()

    def _take(self) -> tuple[HashRequest, bool] | None:
        with self._changed:
            while (taken := self._queue.take() if self._running < self._max_running else None) is None:
                self._idle += 1
                notified = self._changed.wait(self._idle_timeout)
                self._idle -= 1
                if not notified and not self._queue.has_work:
                    self.threads -= 1
                    return None
            self._running += 1
            self._use_free_thread()  # one that was notified may not have run yet
            return taken


def _compute(request: HashRequest) -> bool | None:
    try:
        return request.compute()
    except Exception:  # a bug of ours: a client waits, and the thread must go on
        _logger.exception("an imported hash could not be computed: internal error")
        return None


def _decide(request: HashRequest, result: bool | None) -> None:  # noqa: FBT001
    try:
        request.decide(request, result)
    except Exception:  # a bug of ours: the thread must go on
        _logger.exception("a request with an imported hash could not be decided: internal error")
