"""Group commit: all events queued during one commit are written in the next transaction.

The client of a refused request waits for the commit. Accepted requests wait for nothing, and their events are written
after up to `batch_delay` seconds. Both are in one queue, so events commit in the order of the process's decisions.

An event keeps the outcome that was decided, whatever the client was told. A wrong secret whose commit fails is answered
503, while the right secret is answered 200; so it counts as soon as it can be written.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from octy_middleware.clock import Clock
from octy_middleware.errors import OctyError
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.process.fork import restart_after_fork
from octy_middleware.recording.batch_queue import BatchQueue
from octy_middleware.recording.commit_waiter import CommitWaiter, settle

_logger = logging.getLogger(__name__)

MAX_BATCH = 2000  # events a transaction, so that no commit takes long
_VERIFIED = frozenset({Outcome.WRONG_SECRET, Outcome.UNKNOWN_KEY, Outcome.RETIRED, Outcome.RETIRED_WRONG})
_MIN_RESERVE = 256  # places for verified refusals beyond a full queue
_KEYS_PER_RESERVE = 8  # one key gets this part of the reserve, so that attempts on other keys still fit

Write = Callable[[Sequence[AuthEvent]], None]


class RecorderHealth(NamedTuple):
    """State of the recorder. `lost`: events dropped because the queue was full or by an internal error.

    `last_error` is empty again once a commit succeeds; `past_error` stays. `current_commit_seconds` is 0 without a
    commit in progress.
    """

    queued: int
    lost: int
    last_error: str
    past_error: str
    seconds_since_failure: float | None
    failures: int
    last_commit_seconds: float
    current_commit_seconds: float


_Item: TypeAlias = AuthEvent | CommitWaiter
"""What is in the queue: an event that is written soon, or a waiter with its event."""


class Recorder:
    """Queues at most `queue_limit` events and writes them by `write`. Safe for threads; empty in a forked child.

    When a commit takes longer than `commit_timeout` seconds the database counts as unavailable: no request waits then.
    """

    def __init__(
        self,
        write: Write,
        *,
        queue_limit: int,
        batch_delay: float,
        commit_timeout: float = 5.0,
        commit_before_response: bool = False,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """`commit_before_response`: also for accepted requests, on hosts that stop the process after a response."""
        self._write = write
        self._queue_limit = queue_limit
        self._half = queue_limit // 2
        self._commit_before_response = commit_before_response
        self._no_wait_limit = 0 if commit_before_response else self._half  # below this queue length no request waits
        self._reserve = max(queue_limit, _MIN_RESERVE)
        self._commit_timeout = commit_timeout
        self._monotonic = monotonic
        self._batch_queue: BatchQueue[_Item] = BatchQueue(
            "octy-recorder", self._write_batch, max_batch=MAX_BATCH, batch_delay=batch_delay
        )
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Reset all state, in a forked child."""
        self._lost = 0
        self._last_error = ""
        self._past_error = ""
        self._failed_at: float | None = None
        self._failures = 0
        self._commit_started_at: float | None = None  # None: no commit in progress
        self._last_commit_seconds = 0.0
        self._reserve_lock = threading.Lock()
        self._reserved_by_key: Counter[str] = Counter()  # events in the reserve by public key; unknown keys share one
        self._reserved_total = 0
        self._warned = False  # that verified refusals are dropped

    def record(self, event: AuthEvent) -> bool:
        """Queue an event to be written soon. False: not queued, the caller must use `commit` and wait.

        That happens when the queue is full, so that requests come no faster than they can be written. If it is full
        because the database is unavailable the event is dropped and counted as lost, as the host app must go on.
        Refusals without a verified secret use half of the queue at most: they come fast, and accepted events end
        streaks. Verified refusals have a reserve of their own, so they are dropped last.
        """
        batch_queue = self._batch_queue
        if len(batch_queue.queue) < self._no_wait_limit:
            batch_queue.queue.append(event)  # `BatchQueue.put` inline: every accepted request runs this
            if not batch_queue.wake_requested:
                batch_queue.wake()
            return True
        return self._record_when_half_full(event)

    def _record_when_half_full(self, event: AuthEvent) -> bool:
        """Queue an event when half of the queue is full, or when all must be committed before the response."""
        if self._commit_before_response:
            if not self._is_database_unavailable() and self._free_places() > 0:
                return False
            if len(self._batch_queue) < self._half:
                self._batch_queue.put_urgent(event)
                return True
        self._batch_queue.wake_now()
        if event.outcome in _VERIFIED:
            self._queue_in_reserve(event)
            return True
        if event.outcome is not Outcome.DATABASE_UNAVAILABLE and self._free_places() > 0:
            self._batch_queue.put(event)
            return True
        if self._is_database_unavailable():
            self._lost += 1
            return True
        return False

    def _queue_in_reserve(self, event: AuthEvent) -> None:
        """Queue a verified refusal in the reserve; unknown keys share the places of one key (`equal_work`)."""
        with self._reserve_lock:
            share = self._reserved_by_key[event.public_key]
            has_room = self._reserved_total < self._reserve and share < self._reserve // _KEYS_PER_RESERVE
            if has_room:
                self._reserved_by_key[event.public_key] = share + 1
                self._reserved_total += 1
        if has_room:
            self._batch_queue.put(event)
            return
        self._lost += 1
        if not self._warned:
            self._warned = True
            _logger.error(
                "recorder: queue full; failed attempts are dropped and not counted until the queue has room again"
            )

    def _release_reserve(self, events: Iterable[AuthEvent]) -> None:
        with self._reserve_lock:
            for event in events:
                if self._reserved_by_key[event.public_key] > 0 and event.outcome in _VERIFIED:
                    self._reserved_by_key[event.public_key] -= 1
                    self._reserved_total -= 1
            self._reserved_by_key += Counter()  # drops keys without events
            if not self._reserved_total:
                self._warned = False

    def _lose(self, events: Sequence[AuthEvent]) -> None:
        """Count events that can't be written; their places in the reserve are free again."""
        self._lost += len(events)
        self._release_reserve(events)

    def _free_places(self) -> int:
        """Return how many more events fit into the queue, not counting those in the reserve."""
        return self._queue_limit - len(self._batch_queue) + self._reserved_total

    def commit(self, decision: AuthDecision, waiter: CommitWaiter, *, alone: bool = False) -> None:
        """Write the decision's event now, and settle the waiter with the decision after the commit.

        The waiter is settled at once, with 503 for refusals, while the database is unavailable or the queue is full of
        verified refusals: waiting refusals must not use up the threads that accepted requests need. The event is
        written later all the same; queued events are retried until the database is available again. An event that
        `record` did not queue may exceed the limit. `alone`: no other request waits, so if no commit is in progress
        this one is made in the calling thread.
        """
        event = decision.event
        assert event is not None
        is_unavailable = self._is_database_unavailable()
        if not is_unavailable and (self._free_places() > 0 or event.outcome not in _VERIFIED):
            waiter.event, waiter.decision = event, decision.committed()
            if alone:
                self._batch_queue.put_alone(waiter)
            else:
                self._batch_queue.put_urgent(waiter)
            return
        event.description.read()  # it may wait for long
        if is_unavailable:
            self.record(event)
        else:
            self._queue_in_reserve(event)
        settle([(waiter, decision.uncommitted())])

    def health(self) -> RecorderHealth:
        """Return the state for metrics and `octy doctor`."""
        started_at, failed_at, now = self._commit_started_at, self._failed_at, self._monotonic()
        return RecorderHealth(
            queued=len(self._batch_queue),
            lost=self._lost,
            last_error=self._last_error,
            past_error=self._past_error,
            seconds_since_failure=None if failed_at is None else now - failed_at,
            failures=self._failures,
            last_commit_seconds=self._last_commit_seconds,
            current_commit_seconds=0.0 if started_at is None else now - started_at,
        )

    def commit_before_response(self) -> None:
        """From now on commit every event before its response. Takes no lock, as signal handlers call it."""
        self._commit_before_response = True
        self._no_wait_limit = 0

    def flush(self, timeout: float = 10.0) -> None:
        """Write the queue, for at most `timeout` seconds."""
        self._batch_queue.flush(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write the queue and stop the thread. Later events start it again."""
        self._batch_queue.close(timeout)

    def _is_database_unavailable(self) -> bool:
        if self._last_error:
            return True
        started_at = self._commit_started_at
        return started_at is not None and self._monotonic() - started_at > self._commit_timeout

    def _write_batch(self, batch: list[_Item]) -> list[_Item]:
        """Write a batch and settle its waiters. Return what must be written again."""
        events, waiters = _split(batch)
        self._commit_started_at = started_at = self._monotonic()
        try:
            self._write(events)
        except OctyError as error:
            return self._requeue(events, waiters, error)
        except Exception as error:  # noqa: BLE001  # a bug of ours: clients wait, and the thread must go on
            return self._write_one_by_one(batch, error)
        finally:
            self._commit_started_at = None
            self._last_commit_seconds = self._monotonic() - started_at
        if self._last_error:
            _logger.warning("recorder: database available again; %d queued outcomes written", len(batch))
            self._last_error = ""
        if self._reserved_total:
            self._release_reserve(events)
        if waiters:
            settle([(waiter, waiter.decision) for waiter in waiters])
        return []

    def _write_one_by_one(self, batch: list[_Item], error: Exception) -> list[_Item]:
        """Write each event alone, so that only the one that cannot be written is lost."""
        if len(batch) > 1:
            return [left for item in batch for left in self._write_batch([item])]
        [event], waiters = _split(batch)
        _logger.error(
            "recorder: internal error, an outcome (%s) cannot be written and is lost", event.outcome, exc_info=error
        )
        self._lose([event])
        _settle_uncommitted(waiters)
        return []

    def _requeue(self, events: Sequence[AuthEvent], waiters: Iterable[CommitWaiter], error: OctyError) -> list[_Item]:
        """Settle the waiters as uncommitted; return the events, to be written later."""
        if not self._last_error:
            _logger.error("recorder: %s: %s", type(error).__name__, error)
        self._last_error = self._past_error = f"{type(error).__name__}: {error}"[:300]
        self._failures += 1
        self._failed_at = self._monotonic()
        _settle_uncommitted(waiters)
        if self._batch_queue.closing:
            self._lose(events)
            return []
        for event in events:
            event.description.read()  # they may wait for long
        return list(events)


def _split(batch: Sequence[_Item]) -> tuple[Sequence[AuthEvent], Sequence[CommitWaiter]]:
    """Return the events of a batch, and the waiters among its items."""
    waiters = [item for item in batch if not isinstance(item, AuthEvent)]
    return [item if isinstance(item, AuthEvent) else item.event for item in batch], waiters


def _settle_uncommitted(waiters: Iterable[CommitWaiter]) -> None:
    settle([(waiter, waiter.decision.uncommitted()) for waiter in waiters])
