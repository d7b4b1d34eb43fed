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


class Loop(Protocol):
    """The part of `asyncio.AbstractEventLoop` that `settle` uses."""

    def call_soon_threadsafe(
        self, callback: Callable[[Sequence["CommitWaiter"]], object], waiters: Sequence["CommitWaiter"], /
    ) -> object:
        """Call back in the loop's thread; raise RuntimeError once the loop has ended."""


class CommitWaiter(ABC):
    """A waiting request. `result` is None until it is settled. It can be cancelled until its commit has started."""

    __slots__ = ("_token", "cancelled", "result")
    loop: Loop | None = None

    def __init__(self) -> None:
        self.result: object = None  # as passed to `settle`
        self.cancelled = False
        self._token = [None]  # the first to take it decides; `list.pop` is atomic

    def acquire(self) -> bool:
        """Return True for the first caller only: either the commit, or `cancel`."""
        try:
            self._token.pop()
        except IndexError:
            return False
        return True

    def cancel(self) -> bool:
        """Stop waiting. False when the commit has started: then its result must be awaited."""
        self.cancelled = self.acquire()
        return self.cancelled

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

    __slots__ = ("_future", "loop")

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Return when it is settled, or after so many seconds. A cancelled task's event is still recorded."""
        if self.result is not None:
            return
        self._future = self.loop.create_future()
        timer = self.loop.call_later(seconds, self.wake)
        try:
            await self._future
        finally:
            timer.cancel()

    def wake(self) -> None:
        """See `CommitWaiter`. Called in the loop's own thread."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


def settle(settled: Iterable[tuple[CommitWaiter, object]]) -> None:
    """Set the results of waiters and wake them, those of one event loop with one call."""
    loops: dict[Loop, list[CommitWaiter]] = {}
    for waiter, result in settled:
        waiter.result = result
        if waiter.loop is None:
            waiter.wake()
        else:
            loops.setdefault(waiter.loop, []).append(waiter)
    for loop, waiters in loops.items():
        with suppress(RuntimeError):  # the loop is closed: its waiters are gone
            loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: Sequence[CommitWaiter]) -> None:
    for waiter in waiters:
        waiter.wake()
