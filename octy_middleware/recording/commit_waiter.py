"""Waiting until another thread has decided a request or committed its event: in a thread or in an asyncio task.

`settle` wakes all waiters of one loop with a single call. Futures of the standard library take a system call each,
which releases the interpreter's lock: for a batch of a hundred that costs more than the commit.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent

_WOKEN_AT_ONCE = 8  # waiters of one loop: each then sends a response
_TIMER_STEP = 0.01  # seconds between two runs of a loop's timer, at least


class Loop(Protocol):
    """The part of `asyncio.AbstractEventLoop` that `settle` uses."""

    def call_soon_threadsafe(
        self, callback: Callable[[Sequence["CommitWaiter"]], object], waiters: Sequence["CommitWaiter"], /
    ) -> object:
        """Call back in the loop's thread; raise RuntimeError once the loop has ended."""


class CommitWaiter(ABC):
    """A waiting request. `result` is None until it is settled.

    `cancelled`: it has waited for too long and was answered 503. Its event is recorded all the same. `event` and
    `decision`, once it waits for a commit: what is to be committed, and the result after that.
    """

    __slots__ = ("cancelled", "decision", "event", "result")
    event: AuthEvent
    decision: AuthDecision
    loop: Loop | None = None

    def __init__(self) -> None:
        self.result: object = None  # as passed to `settle`
        self.cancelled = False

    @abstractmethod
    def wake(self) -> None:
        """End the wait: there is a result, or the time is over."""


class ThreadWaiter(CommitWaiter):
    """Waits in a thread."""

    __slots__ = ("_closed",)

    def __init__(self) -> None:
        super().__init__()
        self._closed = threading.Lock()
        self._closed.acquire()

    def wait(self, timeout: float) -> None:
        """Return when it is settled, or after `timeout` seconds."""
        if self.result is None:
            self._closed.acquire(timeout=timeout)

    def wake(self) -> None:
        """See `CommitWaiter`."""
        self._closed.release()


class TaskWaiter(CommitWaiter):
    """Waits in an asyncio task."""

    __slots__ = ("_future", "_timeouts", "loop")

    def __init__(self) -> None:
        self.result = None
        self.cancelled = False
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None

    def wait(self, seconds: float) -> "asyncio.Future[None]":
        """Return what to await until it is settled, for at most so many seconds. Call it again after that.

        A cancelled task's event is still recorded.
        """
        self._future = future = self.loop.create_future()
        self._timeouts = _timeouts_of(self.loop)
        if self.result is None:
            self._timeouts.add(self, seconds)
        else:
            future.set_result(None)
        return future

    def wake(self) -> None:
        """See `CommitWaiter`. Called in the loop's own thread."""
        future = self._future
        if future is not None:
            self._timeouts.waiting.pop(self, None)
            if not future.done():
                future.set_result(None)


class _LoopTimeouts:
    """Ends the waits of one loop that last too long, by one timer, which runs only while a waiter waits.

    A timer for each waiter costs a flood more than the wait itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: dict[TaskWaiter, float] = {}  # when each wait ends, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, waiter: TaskWaiter, seconds: float) -> None:
        """Wake the waiter after so many seconds, unless it is removed from `waiting` before."""
        self.waiting[waiter] = deadline = self.loop.time() + seconds
        if self._timer is None or deadline < self._timer_at:
            self._start_timer(deadline)

    def _start_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._wake_late)

    def _wake_late(self) -> None:
        self._timer = None
        now = self.loop.time()
        for waiter in [waiter for waiter, deadline in self.waiting.items() if deadline <= now]:
            waiter.wake()
        if self.waiting:
            self._start_timer(max(min(self.waiting.values()), now + _TIMER_STEP))


_of_thread = threading.local()  # each thread's last loop: a dictionary by loop would keep loops that have ended


def _timeouts_of(loop: asyncio.AbstractEventLoop) -> _LoopTimeouts:
    found: _LoopTimeouts | None = getattr(_of_thread, "timeouts", None)
    if found is None or found.loop is not loop:
        found = _of_thread.timeouts = _LoopTimeouts(loop)
    return found


def settle(settled: Iterable[tuple[CommitWaiter, object]]) -> None:
    """Set the results of waiters and wake them, those of one event loop with one call into its thread."""
    loops: dict[Loop, list[CommitWaiter]] = {}
    for waiter, result in settled:
        waiter.result = result
        loop = waiter.loop
        if loop is None:
            waiter.wake()
        elif loop in loops:
            loops[loop].append(waiter)
        else:
            loops[loop] = [waiter]
    for loop, waiters in loops.items():
        with suppress(RuntimeError):  # the loop is closed: its waiters are gone
            loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: Sequence[CommitWaiter]) -> None:
    """Wake a few, then let the loop read its sockets: a batch of refusals must not delay accepted requests."""
    for waiter in waiters[:_WOKEN_AT_ONCE]:
        waiter.wake()
    rest = waiters[_WOKEN_AT_ONCE:]
    loop = rest[0].loop if rest else None
    if loop is not None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_wake, rest)
