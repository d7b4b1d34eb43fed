"""A queue and the thread that handles whatever gathered in it while it handled the last of it.

Here: when the thread wakes, what it takes, and how it ends; also after a fork. Not here: what is done with the items
(`recorder`, `look_ups`).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from octy_middleware.process.fork import restart_after_fork
from octy_middleware.process.process_exit import at_exit

_logger = logging.getLogger(__name__)

Item = TypeVar("Item")
_POLL_INTERVAL = 0.002  # seconds between two looks at whether all is handled
_RETRY_DELAY = 0.5  # seconds between two tries while items are given back


class BatchQueue(Generic[Item]):
    """Hands items to `handle`, at most `max_batch` at once, in the order in which they came. Safe for threads.

    `handle` returns what it could not handle, to be tried again after a pause; it must not raise. Items put without
    hurry linger so many seconds for company. After a batch of several the next begins at least `min_interval` seconds later:
    who comes alone, however often, is handled at once, and a flood in company, which costs the host app far less.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], list[Item]],
        *,
        max_batch: int,
        batch_delay: float = 0.0,
        min_interval: float = 0.0,
    ) -> None:
        self._name = name
        self._handle = handle
        self._max_batch = max_batch
        self._batch_delay = batch_delay
        self._min_interval = min_interval
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Begin with an empty queue; the parent handles what it had."""
        self.queue: deque[Item] = deque()
        self._has_items = threading.Event()  # there is something to handle
        self._is_urgent = threading.Event()  # and somebody waits for it
        self.wake_requested = False  # whether `_has_items` is set: looked at once a request
        self._urgent_requested = False  # whether `_is_urgent` is set
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next_batch_at = -inf  # when the next batch may begin
        self.closing = False
        self._is_handling = False  # items are in hand
        self._unregister: Callable[[], object] = _do_nothing

    def __len__(self) -> int:
        return len(self.queue)

    def put(self, item: Item) -> None:
        """Have the item handled soon."""
        self.queue.append(item)
        if not self.wake_requested:
            self.wake()

    def wake(self) -> None:
        """Have the thread look into the queue, unless it is `wake_requested` already."""
        self.wake_requested = True
        self._has_items.set()
        if self._thread is None:
            self._ensure_thread()

    def put_urgent(self, item: Item) -> None:
        """Have the item handled now, after those before it."""
        self.queue.append(item)
        self.wake_now()

    def wake_now(self) -> None:
        """Have what is queued handled now."""
        if not self._urgent_requested:
            self._urgent_requested = True
            self._is_urgent.set()
        if not self.wake_requested:
            self.wake()

    def flush(self, timeout: float) -> None:
        """Return when what is queued has been handled, or after so many seconds."""
        if self._thread is None:
            return
        deadline = time.monotonic() + timeout
        self.wake_now()
        while (self.wake_requested or self._is_handling or self.queue) and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)

    def close(self, timeout: float = 10.0) -> None:
        """Handle what is queued and stop. Items that come later start the thread again."""
        thread = self._thread
        if thread is None:
            return
        self.closing = True
        self._has_items.set()
        self._is_urgent.set()
        thread.join(timeout)

    def _ensure_thread(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self.closing = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
                self._unregister = at_exit(self.close)

    def _run(self) -> None:
        while not self.closing or self.queue:
            self._has_items.wait()
            if self._batch_delay and not self.closing:
                self._is_urgent.wait(self._batch_delay)
            self._is_handling = True
            self._has_items.clear()
            self._is_urgent.clear()
            self._urgent_requested = self.wake_requested = False  # before the queue is read: who comes now calls again
            while self.queue:
                if self._min_interval and not self.closing:
                    time.sleep(max(0.0, self._next_batch_at - time.monotonic()))
                batch = self._take_batch()
                self._next_batch_at = time.monotonic() + self._min_interval if len(batch) > 1 else -inf
                unhandled = self._handle_batch(batch)
                if unhandled:
                    self._retry_later(unhandled)
                    break
            self._is_handling = False
        self._thread = None
        self._urgent_requested = self.wake_requested = (
            False  # a call that was answered by the last batch calls nobody any more
        )
        self._unregister()
        if self.queue:  # came in while the last batch was on its way
            self._ensure_thread()

    def _handle_batch(self, batch: list[Item]) -> list[Item]:
        try:
            return self._handle(batch)
        except Exception:  # a fault of ours; a thread that dies would leave everybody waiting
            _logger.exception("%s: %d items are lost by a fault of ours", self._name, len(batch))
            return []

    def _take_batch(self) -> list[Item]:
        queue = self.queue
        return [queue.popleft() for _ in range(min(len(queue), self._max_batch))]

    def _retry_later(self, items: list[Item]) -> None:
        self.queue.extendleft(reversed(items))
        self.wake()
        if not self.closing:
            self._never.wait(_RETRY_DELAY)

    _never = threading.Event()  # never set: a sleep that reads as one


def _do_nothing() -> None:
    pass
