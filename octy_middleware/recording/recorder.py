"""Group commit: whatever queued up during the last commit is written in one transaction.

Here: who waits for which commit, and what happens when one fails. Not here: the queue and its thread (`batch_queue`),
what one transaction writes (`ledger`).

Refusals are urgent: their client waits for the commit. Accepted outcomes linger a moment for company. Both stand in
one queue, so that outcomes of one process commit in the order in which they were decided.

An event is written with the outcome that was judged, whatever its client was told: a wrong secret whose commit failed
was told 503, where the right one is told 200, so it counts as soon as it can be written.
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

_MAX_BATCH = 2000  # events a transaction, so that no commit takes long
_VERIFIED = frozenset({Outcome.WRONG_SECRET, Outcome.UNKNOWN_KEY, Outcome.RETIRED, Outcome.RETIRED_WRONG})
_MIN_RESERVE = 256  # refused secrets beyond a full queue
_KEYS_PER_RESERVE = 8  # of the reserve: one key's attempts leave room for those on other keys

Write = Callable[[Sequence[AuthEvent]], None]


class RecorderHealth(NamedTuple):
    """How the recorder is doing. `lost` counts outcomes given up: the queue was full, or a fault of ours.

    `last_error` is empty once the store takes outcomes again; `past_error` stays. `commit` is what the last commit
    took, `waiting` how long the one under way has lasted, `seconds_since_failure` since when the last one failed; in seconds.
    """

    queued: int
    lost: int
    last_error: str
    past_error: str
    seconds_since_failure: float | None
    failures: int
    last_commit_seconds: float
    current_commit_seconds: float


class _AwaitedEvent(NamedTuple):
    """An event whose client waits for the commit."""

    event: AuthEvent
    decision: AuthDecision
    waiter: CommitWaiter


_Item: TypeAlias = AuthEvent | _AwaitedEvent


class Recorder:
    """Writes events by `write`, at most `queue_limit` of them waiting. Safe for threads; starts anew in a forked child.

    A commit that has lasted for `commit_timeout` seconds counts as a store that is away: nobody is made to wait behind it.
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
        """`commit_before_response`: nothing is written after an answer, for hosts that stop the process then."""
        self._write = write
        self._queue_limit = queue_limit
        self._half = queue_limit // 2
        self._commit_before_response = commit_before_response
        self._no_wait_limit = 0 if commit_before_response else self._half  # so many wait and no request waits for them
        self._reserve = max(queue_limit, _MIN_RESERVE)
        self._commit_timeout = commit_timeout
        self._monotonic = monotonic
        self._batch_queue: BatchQueue[_Item] = BatchQueue(
            "octy-recorder", self._handle_batch, max_batch=_MAX_BATCH, batch_delay=batch_delay
        )
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Forget the past of another process."""
        self._lost = 0
        self._last_error = ""
        self._past_error = ""
        self._failed_at: float | None = None
        self._failures = 0
        self._commit_started_at: float | None = None  # when the commit under way began
        self._last_commit_seconds = 0.0
        self._reserve_lock = threading.Lock()
        self._reserved_by_key: Counter[str] = Counter()  # refused secrets in the reserve, by key; unknown keys are one
        self._reserved_total = 0
        self._warned = False  # of refused secrets that are given up

    def record(self, event: AuthEvent) -> bool:
        """Write the event soon; nobody need wait for it, unless it returns False: then `submit` it.

        That is so when the queue is full: the store sets the pace. When it is full because the store is away, the event
        is given up and counted, for the host app must go on. What nobody judged gets half of the queue: it comes
        fast, and what was accepted ends streaks. Refused secrets are given up last: they have a reserve of their own.
        """
        batch_queue = self._batch_queue
        if len(batch_queue.queue) < self._no_wait_limit:
            batch_queue.queue.append(event)  # `BatchQueue.put`, without the call: every accepted request comes by here
            if not batch_queue.wake_requested:
                batch_queue.wake()
            return True
        return self._record_when_half_full(event)

    def _record_when_half_full(self, event: AuthEvent) -> bool:
        """Note an event when half of the queue is full, or nothing may be written later; here nothing lingers."""
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
        """Queue a refused secret beyond half of the queue; unknown keys share what one key has (T7)."""
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
            _logger.error("recorder: the queue is full: refused secrets are not counted any more")

    def _release_reserve(self, written: Iterable[AuthEvent]) -> None:
        with self._reserve_lock:
            for event in written:
                if self._reserved_by_key[event.public_key] > 0 and event.outcome in _VERIFIED:
                    self._reserved_by_key[event.public_key] -= 1
                    self._reserved_total -= 1
            self._reserved_by_key += Counter()  # drops keys without events

    def _free_places(self) -> int:
        """Return how many events the queue still takes beside the reserve."""
        return self._queue_limit - len(self._batch_queue) + self._reserved_total

    def commit(self, decision: AuthDecision, waiter: CommitWaiter) -> None:
        """Write the decision's event now, and settle the ticket with the decision after its commit.

        Behind a full queue nobody waits for a refusal of credentials; what was noted in vain waits for its turn beyond
        the limit. Until the commit begins the ticket can be withdrawn. While the store is away the ticket is settled at
        once, so that refusals don't use up the threads that right keys need. In each case the event is written all the
        same; what is queued is tried again and again, and finds out when the store is back.
        """
        event = decision.event
        assert event is not None
        if self._is_database_unavailable():
            self.record(event)
        elif self._free_places() > 0 or event.outcome not in _VERIFIED:
            self._batch_queue.put_urgent(_AwaitedEvent(event, decision.committed(), waiter))
            return
        else:
            self._queue_in_reserve(event)
        settle([(waiter, decision.uncommitted())])

    def health(self) -> RecorderHealth:
        """Return the figures for metrics and `octy doctor`."""
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
        """From now on write everything before its answer. Takes no lock: signal handlers call it."""
        self._commit_before_response = True
        self._no_wait_limit = 0

    def flush(self, timeout: float = 10.0) -> None:
        """Write what is queued, as far as the store takes it in time, and go on."""
        self._batch_queue.flush(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop. Entries that come later start the thread again."""
        self._batch_queue.close(timeout)

    def _is_database_unavailable(self) -> bool:
        if self._last_error:
            return True
        started_at = self._commit_started_at
        return started_at is not None and self._monotonic() - started_at > self._commit_timeout

    def _handle_batch(self, items: list[_Item]) -> list[_Item]:
        """Write a batch. From here on nobody can withdraw; who did so before was told 503, and waits no more."""
        if _AwaitedEvent in set(map(type, items)):
            items = [_without_cancelled(item) if type(item) is _AwaitedEvent else item for item in items]
        return self._write_batch(items)

    def _write_batch(self, batch: list[_Item]) -> list[_Item]:
        """Write a batch and tell those who wait. Return what the store did not take."""
        awaited_events: list[_AwaitedEvent] = []
        events = batch
        if _AwaitedEvent in set(map(type, batch)):
            awaited_events = [item for item in batch if type(item) is _AwaitedEvent]
            events = [item.event if type(item) is _AwaitedEvent else item for item in batch]
        self._commit_started_at = started_at = self._monotonic()
        try:
            self._write(events)  # type: ignore[arg-type]
        except OctyError as error:
            return self._requeue(batch, error)
        except Exception as error:  # noqa: BLE001  # a fault of ours: no client may wait for ever, no thread may die
            return self._write_one_by_one(batch, error)
        finally:
            self._commit_started_at = None
            self._last_commit_seconds = self._monotonic() - started_at
        if self._last_error:
            _logger.warning("recorder: the store takes outcomes again")
            self._last_error = ""
            self._warned = False
        if self._reserved_total:
            self._release_reserve(item.event if isinstance(item, _AwaitedEvent) else item for item in batch)
        settle([(item.waiter, item.decision) for item in awaited_events])
        return []

    def _write_one_by_one(self, batch: list[_Item], error: Exception) -> list[_Item]:
        """Find the event that can't be written, so that it takes no other with it, and give it up."""
        if len(batch) > 1:
            return [left for item in batch for left in self._write_batch([item])]
        [item] = batch
        event = item.event if isinstance(item, _AwaitedEvent) else item
        _logger.error("recorder: an outcome (%s) can't be written: given up", event.outcome, exc_info=error)
        self._lost += 1
        _settle_uncommitted(batch)
        return []

    def _requeue(self, batch: list[_Item], error: OctyError) -> list[_Item]:
        """Answer those who wait, and keep what can still be written later."""
        if not self._last_error:
            _logger.error("recorder: %s: %s", type(error).__name__, error)
        self._last_error = self._past_error = f"{type(error).__name__}: {error}"[:300]
        self._failures += 1
        self._failed_at = self._monotonic()
        _settle_uncommitted(batch)
        if self._batch_queue.closing:
            self._lost += len(batch)
            return []
        return [item.event if isinstance(item, _AwaitedEvent) else item for item in batch]


def _without_cancelled(item: _AwaitedEvent) -> _Item:
    return item if item.waiter.acquire() else item.event


def _settle_uncommitted(batch: Sequence[_Item]) -> None:
    settle([(item.waiter, item.decision.uncommitted()) for item in batch if isinstance(item, _AwaitedEvent)])
