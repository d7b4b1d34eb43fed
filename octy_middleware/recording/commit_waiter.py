"""What a door holds while its request waits for an answer that another thread finds.

Here: waiting, for a thread or for a task of an event loop; withdrawing; waking many that wait at once. Not here: what
the answer is (`authenticator`). Futures of the standard library wake their loop one by one, each by a system call that
hands the interpreter's lock over: at a batch of a hundred that costs more than its commit.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol


class Loop(Protocol):
    """What an event loop must be able to do for tickets: `asyncio.AbstractEventLoop`, or what stands in for it."""

    def call_soon_threadsafe(
        self, callback: Callable[[Sequence["CommitWaiter"]], object], waiters: Sequence["CommitWaiter"], /
    ) -> object:
        """Call back in the loop's own thread; raise RuntimeError once the loop has ended."""


class CommitWaiter(ABC):
    """One waiting request. `result` is there once it is settled; until a commit begins it can be withdrawn."""

    __slots__ = ("_token", "cancelled", "result")
    loop: Loop | None = None

    def __init__(self) -> None:
        self.result: object = None  # what `settle` was given: of the type that the one who waits asked for
        self.cancelled = False
        self._token = [None]  # whoever takes it decides: a list's `pop` is one step, whatever the threads do

    def acquire(self) -> bool:
        """Take it for good; True for the first who does: the one who withdraws it, or the commit."""
        try:
            self._token.pop()
        except IndexError:
            return False
        return True

    def cancel(self) -> bool:
        """Stop waiting; False when its commit has begun, and only the commit's end says how it ends."""
        self.cancelled = self.acquire()
        return self.cancelled

    @abstractmethod
    def wake(self) -> None:
        """Go on: the answer is there, or the time is over."""


class ThreadWaiter(CommitWaiter):
    """Waits in its thread."""

    __slots__ = ("_closed",)

    def __init__(self) -> None:
        super().__init__()
        self._closed = threading.Lock()
        self._closed.acquire()

    def wait(self, timeout: float) -> None:
        """Return when it is settled, or after so many seconds."""
        if self.result is None:
            self._closed.acquire(timeout=timeout)

    def wake(self) -> None:
        """See `CommitWaiter`."""
        self._closed.release()


class TaskWaiter(CommitWaiter):
    """Waits in a task of an event loop."""

    __slots__ = ("_future", "loop")

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None

    async def wait(self, timeout: float) -> None:
        """Return when it is settled, or after so many seconds. Whoever is cancelled leaves the attempt where it is."""
        if self.result is not None:
            return
        self._future = self.loop.create_future()
        timer = self.loop.call_later(timeout, self.wake)
        try:
            await self._future
        finally:
            timer.cancel()

    def wake(self) -> None:
        """See `CommitWaiter`. Called in the loop's own thread."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


def settle(settled: Iterable[tuple[CommitWaiter, object]]) -> None:
    """Give tickets their answers, and wake each loop once."""
    loops: dict[Loop, list[CommitWaiter]] = {}
    for waiter, result in settled:
        waiter.result = result
        if waiter.loop is None:
            waiter.wake()
        else:
            loops.setdefault(waiter.loop, []).append(waiter)
    for loop, waiters in loops.items():
        with suppress(RuntimeError):  # a loop that was closed has nobody waiting
            loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: Sequence[CommitWaiter]) -> None:
    for waiter in waiters:
        waiter.wake()
