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

_BATCH = 2000  # events a transaction, so that no commit takes long
_JUDGED = frozenset({Outcome.WRONG_SECRET, Outcome.UNKNOWN_KEY, Outcome.RETIRED, Outcome.RETIRED_WRONG})
_LEAST_RESERVE = 256  # refused secrets beyond a full queue
_SHARES = 8  # of the reserve: one key's attempts leave room for those on other keys

Write = Callable[[Sequence[AuthEvent]], None]


class Health(NamedTuple):
    """How the recorder is doing. `lost` counts outcomes given up: the queue was full, or a fault of ours.

    `last_error` is empty once the store takes outcomes again; `past_error` stays. `commit` is what the last commit
    took, `waiting` how long the one under way has lasted, `failed_ago` since when the last one failed; in seconds.
    """

    queued: int
    lost: int
    last_error: str
    past_error: str
    failed_ago: float | None
    failures: int
    commit: float
    waiting: float


class _Awaited(NamedTuple):
    """An event whose client waits for the commit."""

    event: AuthEvent
    decision: AuthDecision
    waiter: CommitWaiter


_Item: TypeAlias = AuthEvent | _Awaited


class Recorder:
    """Writes events by `write`, at most `limit` of them waiting. Safe for threads; starts anew in a forked child.

    A commit that has lasted for `patience` seconds counts as a store that is away: nobody is made to wait behind it.
    """

    def __init__(
        self,
        write: Write,
        *,
        limit: int,
        batch_delay: float,
        patience: float = 5.0,
        before_answer: bool = False,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """`before_answer`: nothing is written after an answer, for hosts that stop the process then."""
        self._write = write
        self._limit = limit
        self._half = limit // 2
        self._before_answer = before_answer
        self._easily = 0 if before_answer else self._half  # so many wait and no request waits for them
        self._reserve = max(limit, _LEAST_RESERVE)
        self._patience = patience
        self._monotonic = monotonic
        self._batch_queue: BatchQueue[_Item] = BatchQueue(
            "octy-recorder", self._handle, most=_BATCH, batch_delay=batch_delay
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
        self._begun: float | None = None  # when the commit under way began
        self._took = 0.0
        self._reserving = threading.Lock()
        self._reserved: Counter[str] = Counter()  # refused secrets in the reserve, by key; unknown keys are one
        self._reserved_all = 0
        self._warned = False  # of refused secrets that are given up

    def record(self, event: AuthEvent) -> bool:
        """Write the event soon; nobody need wait for it, unless it returns False: then `submit` it.

        That is so when the queue is full: the store sets the pace. When it is full because the store is away, the event
        is given up and counted, for the host app must go on. What nobody judged gets half of the queue: it comes
        fast, and what was accepted ends streaks. Refused secrets are given up last: they have a reserve of their own.
        """
        batch_queue = self._batch_queue
        if len(batch_queue.queue) < self._easily:
            batch_queue.queue.append(event)  # `BatchQueue.put`, without the call: every accepted request comes by here
            if not batch_queue.called:
                batch_queue.call()
            return True
        return self._record_when_half_full(event)

    def _record_when_half_full(self, event: AuthEvent) -> bool:
        """Note an event when half of the queue is full, or nothing may be written later; here nothing lingers."""
        if self._before_answer:
            if not self._is_away() and self._room() > 0:
                return False
            if len(self._batch_queue) < self._half:
                self._batch_queue.put_urgently(event)
                return True
        self._batch_queue.hurry()
        if event.outcome in _JUDGED:
            self._keep_in_reserve(event)
            return True
        if event.outcome is not Outcome.DATABASE_UNAVAILABLE and self._room() > 0:
            self._batch_queue.put(event)
            return True
        if self._is_away():
            self._lost += 1
            return True
        return False

    def _keep_in_reserve(self, event: AuthEvent) -> None:
        """Queue a refused secret beyond half of the queue; unknown keys share what one key has (T7)."""
        with self._reserving:
            share = self._reserved[event.public_key]
            has_room = self._reserved_all < self._reserve and share < self._reserve // _SHARES
            if has_room:
                self._reserved[event.public_key] = share + 1
                self._reserved_all += 1
        if has_room:
            self._batch_queue.put(event)
            return
        self._lost += 1
        if not self._warned:
            self._warned = True
            _logger.error("recorder: the queue is full: refused secrets are not counted any more")

    def _leave_reserve(self, written: Iterable[AuthEvent]) -> None:
        with self._reserving:
            for event in written:
                if self._reserved[event.public_key] > 0 and event.outcome in _JUDGED:
                    self._reserved[event.public_key] -= 1
                    self._reserved_all -= 1
            self._reserved += Counter()  # drops keys without events

    def _room(self) -> int:
        """Return how many events the queue still takes beside the reserve."""
        return self._limit - len(self._batch_queue) + self._reserved_all

    def commit(self, decision: AuthDecision, waiter: CommitWaiter) -> None:
        """Write the decision's event now, and settle the ticket with the decision after its commit.

        Behind a full queue nobody waits for a refusal of credentials; what was noted in vain waits for its turn beyond
        the limit. Until the commit begins the ticket can be withdrawn. While the store is away the ticket is settled at
        once, so that refusals don't use up the threads that right keys need. In each case the event is written all the
        same; what is queued is tried again and again, and finds out when the store is back.
        """
        event = decision.event
        assert event is not None
        if self._is_away():
            self.record(event)
        elif self._room() > 0 or event.outcome not in _JUDGED:
            self._batch_queue.put_urgently(_Awaited(event, decision.committed(), waiter))
            return
        else:
            self._keep_in_reserve(event)
        settle([(waiter, decision.uncommitted())])

    def health(self) -> Health:
        """Return the figures for metrics and `octy doctor`."""
        begun, failed_at, now = self._begun, self._failed_at, self._monotonic()
        return Health(
            queued=len(self._batch_queue),
            lost=self._lost,
            last_error=self._last_error,
            past_error=self._past_error,
            failed_ago=None if failed_at is None else now - failed_at,
            failures=self._failures,
            commit=self._took,
            waiting=0.0 if begun is None else now - begun,
        )

    def hasten(self) -> None:
        """From now on write everything before its answer. Takes no lock: signal handlers call it."""
        self._before_answer = True
        self._easily = 0

    def flush(self, timeout: float = 10.0) -> None:
        """Write what is queued, as far as the store takes it in time, and go on."""
        self._batch_queue.flush(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop. Entries that come later start the thread again."""
        self._batch_queue.close(timeout)

    def _is_away(self) -> bool:
        if self._last_error:
            return True
        begun = self._begun
        return begun is not None and self._monotonic() - begun > self._patience

    def _handle(self, items: list[_Item]) -> list[_Item]:
        """Write a batch. From here on nobody can withdraw; who did so before was told 503, and waits no more."""
        if _Awaited in set(map(type, items)):
            items = [_claimed(item) if type(item) is _Awaited else item for item in items]
        return self._write_batch(items)

    def _write_batch(self, batch: list[_Item]) -> list[_Item]:
        """Write a batch and tell those who wait. Return what the store did not take."""
        awaited: list[_Awaited] = []
        events = batch
        if _Awaited in set(map(type, batch)):
            awaited = [item for item in batch if type(item) is _Awaited]
            events = [item.event if type(item) is _Awaited else item for item in batch]
        self._begun = begun = self._monotonic()
        try:
            self._write(events)  # type: ignore[arg-type]
        except OctyError as error:
            return self._give_back(batch, error)
        except Exception as error:  # noqa: BLE001  # a fault of ours: no client may wait for ever, no thread may die
            return self._commit_singly(batch, error)
        finally:
            self._begun = None
            self._took = self._monotonic() - begun
        if self._last_error:
            _logger.warning("recorder: the store takes outcomes again")
            self._last_error = ""
            self._warned = False
        if self._reserved_all:
            self._leave_reserve(item.event if isinstance(item, _Awaited) else item for item in batch)
        settle([(item.waiter, item.decision) for item in awaited])
        return []

    def _commit_singly(self, batch: list[_Item], error: Exception) -> list[_Item]:
        """Find the event that can't be written, so that it takes no other with it, and give it up."""
        if len(batch) > 1:
            return [left for item in batch for left in self._write_batch([item])]
        [item] = batch
        event = item.event if isinstance(item, _Awaited) else item
        _logger.error("recorder: an outcome (%s) can't be written: given up", event.outcome, exc_info=error)
        self._lost += 1
        _fail(batch)
        return []

    def _give_back(self, batch: list[_Item], error: OctyError) -> list[_Item]:
        """Answer those who wait, and keep what can still be written later."""
        if not self._last_error:
            _logger.error("recorder: %s: %s", type(error).__name__, error)
        self._last_error = self._past_error = f"{type(error).__name__}: {error}"[:300]
        self._failures += 1
        self._failed_at = self._monotonic()
        _fail(batch)
        if self._batch_queue.closing:
            self._lost += len(batch)
            return []
        return [item.event if isinstance(item, _Awaited) else item for item in batch]


def _claimed(item: _Awaited) -> _Item:
    return item if item.waiter.take() else item.event


def _fail(batch: Sequence[_Item]) -> None:
    settle([(item.waiter, item.decision.uncommitted()) for item in batch if isinstance(item, _Awaited)])
