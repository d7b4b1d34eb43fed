"""Limits concurrent slow hashes: a few run at once, a limited number waits, and keys take turns.

An imported hash such as argon2 takes up to hundreds of milliseconds, and anybody can send public keys that need one.
The threads here wait for the processes that compute (`hash_processes`).
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from octy_middleware.process.fork import restart_after_fork

Result = TypeVar("Result")
_MAX_PER_SOURCE = 4  # so that one source does not use up the threads of a server
_MIN_PER_KEY, _KEYS_SHARING = 8, 4  # one key gets at least 8 places, or a quarter of all


class _Job:
    """One call and its result or error."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class HashLimiter:
    """Runs at most `max_running` calls at once, while at most `max_waiting` more wait. Safe for threads and after fork.

    Keys take turns: behind a flood on one key, a call for another key waits for one call of the flood at most.
    """

    def __init__(
        self,
        *,
        max_running: int,
        max_waiting: int,
        on_idle: Callable[[], None] = lambda: None,
        idle_timeout: float = 60.0,
    ) -> None:
        """A thread without work ends after `idle_timeout` seconds; `on_idle` is called then."""
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._on_idle = on_idle
        self._idle_timeout = idle_timeout
        self._max_per_key = max(_MIN_PER_KEY, (max_running + max_waiting) // _KEYS_SHARING)
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Start empty and without threads, in a forked child."""
        self._changed = threading.Condition()
        self._by_source: Counter[str] = Counter()
        self._by_key: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()  # by key; the first is next
        self.threads = 0  # that run a call or wait for one
        self._idle = 0

    def run(self, work: Callable[[], Result], *, source: str, key: str = "") -> Result | None:
        """Return the result of `work`; None at once when too many calls wait: of all, of `source`, or of `key`.

        Raises what `work` raises.
        """
        job = _Job(work)
        if not self._enter(job, source, key):
            return None
        try:
            job.done.wait()
        finally:
            self._leave(source, key)
        if job.error is not None:
            raise job.error
        result: Result = job.result
        return result

    def count(self, *, source: str | None = None, key: str | None = None) -> int:
        """Return how many calls run or wait: of a source, of a key, or all."""
        with self._changed:
            if source is not None:
                return self._by_source[source]
            return self._by_source.total() if key is None else self._by_key[key]

    def _enter(self, job: _Job, source: str, key: str) -> bool:
        with self._changed:
            full = self._by_source.total() >= self._max_running + self._max_waiting
            if full or self._by_source[source] >= _MAX_PER_SOURCE or self._by_key[key] >= self._max_per_key:
                return False
            self._by_source[source] += 1
            self._by_key[key] += 1
            self._waiting.setdefault(key, deque()).append(job)
            if self._idle < len(self._waiting) and self.threads < self._max_running:
                self.threads += 1
                threading.Thread(target=self._work, name="octy-slow-hash", daemon=True).start()
            self._changed.notify()
            return True

    def _leave(self, source: str, key: str) -> None:
        with self._changed:
            self._by_source[source] -= 1
            self._by_key[key] -= 1
            self._by_source += Counter()  # removes zeros
            self._by_key += Counter()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.result = job.work()
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                job.error = error
            job.done.set()
        self._on_idle()

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._waiting:
                self._idle += 1
                notified = self._changed.wait(self._idle_timeout)
                self._idle -= 1
                if not notified and not self._waiting:
                    self.threads -= 1
                    return None
            key, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[key] = jobs  # at the end
            return job
