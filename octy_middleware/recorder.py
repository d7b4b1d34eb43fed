"""Group commit: a thread that writes down whatever queued up during the last commit, in one transaction.

Here: the queue, the thread, who waits for which commit, and what happens when a commit fails. Not here: what one
transaction writes (`ledger`).

Refusals are urgent: their client waits for the commit. Accepted outcomes linger a moment for company. Both stand in
one queue, so that outcomes of one process commit in the order in which they were decided.
"""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from octy_middleware.entries import Entry
from octy_middleware.errors import OctyError, StoreUnavailableError
from octy_middleware.forking import restart_after_fork
from octy_middleware.outcome import Outcome

_logger = logging.getLogger(__name__)

_BATCH = 1000  # entries a transaction, so that no commit takes long
_RETRY = 0.5  # seconds between two tries while the store is away

Write = Callable[[Sequence[Entry]], None]


@dataclass(frozen=True, slots=True)
class Health:
    """How the recorder is doing. `lost` counts outcomes given up: the queue was full, or a fault of ours."""

    queued: int
    lost: int
    last_error: str


@dataclass(slots=True)
class _Item:
    entry: Entry
    committed: "Future[None] | None" = field(default=None)


class Recorder:
    """Writes entries by `write`, at most `limit` of them waiting. Safe for threads; starts anew in a forked child."""

    def __init__(self, write: Write, *, limit: int, linger: float) -> None:
        self._write = write
        self._limit = limit
        self._linger = linger
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Begin with an empty queue; the parent writes what it had."""
        self._queue: deque[_Item] = deque()
        self._some = threading.Event()  # there is something to write
        self._urgent = threading.Event()  # and somebody waits for it
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._lost = 0
        self._last_error = ""

    def note(self, entry: Entry) -> "Future[None] | None":
        """Write the entry soon; nobody need wait for it.

        When the queue is full, the caller gets the future of its commit to wait for: the store sets the pace. When it
        is full because the store is away, the entry is given up and counted, for the host app must go on. What was
        answered 503 gets half of the queue: it comes fast, and what was accepted ends streaks.
        """
        limit = self._limit // 2 if entry.outcome is Outcome.STORE_UNAVAILABLE else self._limit
        if len(self._queue) >= limit:
            if not self._last_error:
                return self._enqueue(entry)
            self._lost += 1
            return None
        self._queue.append(_Item(entry))
        if not self._some.is_set():
            self._some.set()
        if self._thread is None:
            self._ensure_thread()
        return None

    def submit(self, entry: Entry) -> "Future[None]":
        """Write the entry now. The future is done after its commit, or fails with StoreUnavailableError.

        Until the commit begins it can be cancelled: the entry is then written as `store_unavailable`, which is what
        its client was told. While the store is away it fails at once, so that refusals don't use up the threads that
        right keys need; what is queued is tried again and again, and finds out when the store is back.
        """
        if self._last_error:
            self.note(_unanswered(entry))
            return _failed("the store takes no outcomes at the moment")
        if len(self._queue) >= self._limit:
            return _failed("too many outcomes are waiting for their commit")
        return self._enqueue(entry)

    def _enqueue(self, entry: Entry) -> "Future[None]":
        committed: Future[None] = Future()
        self._queue.append(_Item(entry, committed))
        self._some.set()
        self._urgent.set()
        self._ensure_thread()
        return committed

    def health(self) -> Health:
        """Return the figures for metrics and `octy doctor`."""
        return Health(len(self._queue), self._lost, self._last_error)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop. Entries that come later start the thread again."""
        thread = self._thread
        if thread is None:
            return
        self._closing = True
        self._some.set()
        self._urgent.set()
        thread.join(timeout)

    def _ensure_thread(self) -> None:
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._run, name="octy-recorder", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _run(self) -> None:
        while not self._closing or self._queue:
            self._some.wait()
            if not self._closing:
                self._urgent.wait(self._linger)
            self._some.clear()
            self._urgent.clear()
            while batch := self._drain():
                if not self._commit(batch):
                    self._some.set()
                    break
        self._thread = None
        atexit.unregister(self.close)
        if self._queue:  # came in while the last batch was on its way
            self._ensure_thread()

    def _drain(self) -> list[_Item]:
        queue = self._queue
        return [self._claimed(queue.popleft()) for _ in range(min(len(queue), _BATCH))]

    def _claimed(self, item: _Item) -> _Item:
        """From here on nobody can withdraw it. Who did so before was told 503: it is no failed attempt of his."""
        if item.committed is None or item.committed.set_running_or_notify_cancel():
            return item
        return _Item(_unanswered(item.entry))

    def _commit(self, batch: list[_Item]) -> bool:
        """Write the batch and tell those who wait. False when the store did not take it."""
        try:
            self._write([item.entry for item in batch])
        except OctyError as error:
            self._give_back(batch, error)
            return False
        except Exception as error:  # noqa: BLE001  # a fault of ours: no client may wait for ever, no thread may die
            self._commit_singly(batch, error)
            return True
        if self._last_error:
            _logger.warning("recorder: the store takes outcomes again")
            self._last_error = ""
        for item in batch:
            if item.committed is not None:
                item.committed.set_result(None)
        return True

    def _commit_singly(self, batch: list[_Item], error: Exception) -> None:
        """Find the entry that can't be written, so that it takes no other with it, and give it up."""
        if len(batch) > 1:
            for item in batch:
                self._commit([item])
            return
        [item] = batch
        _logger.error("recorder: an outcome (%s) can't be written: given up", item.entry.outcome, exc_info=error)
        self._lost += 1
        if item.committed is not None:
            item.committed.set_exception(StoreUnavailableError("the outcome could not be written"))

    def _give_back(self, batch: list[_Item], error: OctyError) -> None:
        """Answer those who wait, keep what can still be written later, and let the store recover a moment."""
        if not self._last_error:
            _logger.error("recorder: %s: %s", type(error).__name__, error)
        self._last_error = f"{type(error).__name__}: {error}"[:300]
        kept = [_Item(_unanswered(item.entry) if item.committed else item.entry) for item in batch]
        if self._closing:
            self._lost += len(kept)
        else:
            self._queue.extendleft(reversed(kept))
        fault = StoreUnavailableError("the outcome could not be written")
        for item in batch:
            if item.committed is not None:
                item.committed.set_exception(fault)
        if not self._closing:
            self._pause.wait(_RETRY)

    _pause = threading.Event()  # never set: a sleep that reads as one


def _failed(why: str) -> "Future[None]":
    refused: Future[None] = Future()
    refused.set_exception(StoreUnavailableError(why))
    return refused


def _unanswered(entry: Entry) -> Entry:
    """What the client of a failed commit was told: 503. It is no failed attempt of his."""
    return entry._replace(outcome=Outcome.STORE_UNAVAILABLE)
