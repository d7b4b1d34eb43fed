"""A queue whose thread handles, in one batch, all items that arrived while it handled the last batch."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from octy_middleware.process.fork import restart_after_fork
from octy_middleware.process.process_exit import at_exit
from octy_middleware.recording.fair_backlog import FairBacklog

_logger = logging.getLogger(__name__)

Item = TypeVar("Item")
_POLL_INTERVAL = 0.002  # seconds between two checks by `flush` whether all items are handled
_RETRY_DELAY = 0.5  # seconds before items that could not be handled are tried again


class BatchQueue(Generic[Item]):
    """Passes items to `handle`, at most `max_batch` at once. Safe for threads; empty in a forked child.

    They are handled in order. If `groups_of` returns their key and source, a longer queue is in that of `FairBacklog`.
    `handle` returns the items to try again later; it must not raise. Items that are not urgent wait `batch_delay`
    seconds for others.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], list[Item]],
        *,
        max_batch: int,
        batch_delay: float = 0.0,
        groups_of: Callable[[Item], tuple[str, str]] | None = None,
    ) -> None:
        self._name = name
        self._handle = handle
        self._max_batch = max_batch
        self._batch_delay = batch_delay
        self._groups_of = groups_of
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Start with an empty queue, in a forked child; the parent handles its own items."""
        self.queue: deque[Item] = deque()
        self._backlog = None if self._groups_of is None else FairBacklog(self._groups_of)
        self._has_items = threading.Event()  # the thread has items to handle
        self._is_urgent = threading.Event()  # a client waits for one of them
        self.wake_requested = False  # whether `_has_items` is set; an attribute, as each request reads it
        self._urgent_requested = False  # whether `_is_urgent` is set
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start_failed = False  # whether that is in the log
        self.closing = False
        self._handling = threading.Lock()  # held while a batch is taken and handled, by whichever thread

    def __len__(self) -> int:
        return len(self.queue) + (len(self._backlog) if self._backlog else 0)

    def put(self, item: Item) -> None:
        """Add an item that can wait for others."""
        self.queue.append(item)
        if not self.wake_requested:
            self.wake()

    def wake(self) -> None:
        """Wake the thread. Call it only while `wake_requested` is False."""
        # before the thread is looked at: one that ends clears it, and looks for items once more
        self.wake_requested = True
        self._has_items.set()
        if self._thread is None:
            self._ensure_thread()

    def put_urgent(self, item: Item) -> None:
        """Add an item and have the queue handled now."""
        self.queue.append(item)
        self.wake_now()

    def put_alone(self, item: Item) -> None:
        """Add an item and handle the queue in the calling thread, or have it handled now if that is being done.

        For an item that comes alone: to wake another thread takes longer than to handle it.
        """
        self.queue.append(item)
        if self._thread is None:
            self._ensure_thread()
        if not self._handling.acquire(blocking=False):
            self.wake_now()
            return
        try:
            unhandled = self._handle_batch(self._take_batch()) if self.queue else []
            self.queue.extendleft(reversed(unhandled))
        finally:
            self._handling.release()
        if len(self):
            self.wake_now()

    def wake_now(self) -> None:
        """Have the queue handled now, without `batch_delay`."""
        if not self._urgent_requested:
            self._urgent_requested = True
            self._is_urgent.set()
        if not self.wake_requested:
            self.wake()

    def flush(self, timeout: float) -> None:
        """Return when the queue has been handled, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if self._thread is not None:
            self.wake_now()
        while (self.wake_requested or self._handling.locked() or len(self)) and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)

    def close(self, timeout: float = 10.0) -> None:
        """Handle the queue and stop the thread. Items added later start it again."""
        thread = self._thread
        if thread is None:
            return
        self.closing = True
        self._has_items.set()
        self._is_urgent.set()
        thread.join(timeout)

    def _ensure_thread(self) -> None:
        """Start the thread. If the process can't have one now, the items stay, and the next one tries again."""
        with self._start_lock:
            if self._thread is not None:
                return  # pragma: no cover - another thread came first
            self.closing = False
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # at the limit of threads, or while the interpreter ends: requests go on
                if not self._start_failed:
                    _logger.warning("%s: no thread can be started, %d items wait: %s", self._name, len(self), error)
                self._start_failed = True
                self.wake_requested = False
                return
            self._start_failed = False
            self._unregister = at_exit(self.close)
            self._thread = thread

    def _run(self) -> None:
        while not self.closing or len(self):
            self._has_items.wait()
            if self._batch_delay and not self.closing:
                self._is_urgent.wait(self._batch_delay)
            with self._handling:
                self._handle_queue()
        self._thread = None
        self._urgent_requested = self.wake_requested = False  # else the next item would not start a thread
        self._unregister()
        if self.queue:
            self._ensure_thread()  # pragma: no cover - an item came between the last check and the end of the thread

    def _handle_queue(self) -> None:
        self._has_items.clear()
        self._is_urgent.clear()
        # before the queue is read: items added from now on wake it again
        self._urgent_requested = self.wake_requested = False
        while len(self):
            unhandled = self._handle_batch(self._take_batch())
            if unhandled:
                self._retry_later(unhandled)
                break

    def _handle_batch(self, batch: list[Item]) -> list[Item]:
        try:
            return self._handle(batch)
        except Exception:  # a bug of ours: the thread must go on, as clients wait for it
            _logger.exception("%s: internal error, %d items are lost", self._name, len(batch))
            return []

    def _take_batch(self) -> list[Item]:
        queue, backlog = self.queue, self._backlog
        if backlog is None or (len(queue) <= self._max_batch and not backlog):
            return [queue.popleft() for _ in range(min(len(queue), self._max_batch))]
        backlog.add(queue.popleft() for _ in range(len(queue)))
        return backlog.take(self._max_batch)

    def _retry_later(self, items: list[Item]) -> None:
        self.queue.extendleft(reversed(items))
        self.wake()
        if not self.closing:
            time.sleep(_RETRY_DELAY)
