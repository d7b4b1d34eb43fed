"""What differs between asyncio and trio: waiting for a commit, and running what blocks in a thread.

Here: which of the two runs the request, and its part for each. trio is loaded by hosts that run it, and by nobody else.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from octy_middleware.errors import ConfigurationError
from octy_middleware.recording.commit_waiter import LoopTicket, Ticket

if TYPE_CHECKING:
    import trio


class TrioTicket(Ticket):
    """Waits in a task of trio."""

    __slots__ = ("_event", "loop")

    def __init__(self) -> None:
        super().__init__()
        self.loop: _TrioLoop = _TrioLoop(_trio().lowlevel.current_trio_token())
        self._event: trio.Event | None = None

    async def wait(self, seconds: float) -> None:
        """Return when it is settled, or after so many seconds. Whoever is cancelled leaves the attempt where it is."""
        if self.answer is not None:
            return
        self._event = _trio().Event()
        with _trio().move_on_after(seconds):
            await self._event.wait()

    def wake(self) -> None:
        """See `Ticket`. Called in trio's own thread."""
        if self._event is not None:
            self._event.set()


class _TrioLoop:
    """A run of trio, as `ticket.settle` wakes it. Equal for the same run, so that all its tickets wake at once."""

    __slots__ = ("_token",)

    def __init__(self, token: "trio.lowlevel.TrioToken") -> None:
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TrioLoop) and other._token is self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def call_soon_threadsafe(self, callback: Callable[[Sequence[Ticket]], object], tickets: Sequence[Ticket]) -> None:
        """Call back in trio's thread. Raises RuntimeError once the run is over."""
        self._token.run_sync_soon(callback, tickets)


def make_ticket() -> LoopTicket | TrioTicket:
    """Return a ticket of the library that runs this request. Raises ConfigurationError for any but these two."""
    try:
        return LoopTicket()
    except RuntimeError:
        if not runs_trio():
            raise ConfigurationError("this server runs neither asyncio nor trio: nothing can be recorded") from None
    return TrioTicket()


def runs_trio() -> bool:
    """Tell whether the calling code is run by trio."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_run())


async def run_in(executor: Executor, work: Callable[..., object], *arguments: Any) -> None:
    """Run what blocks in the executor, to its end, even when the task that waits for it is cancelled."""
    running = executor.submit(work, *arguments)
    if not runs_trio():
        await asyncio.shield(asyncio.wrap_future(running))
        return
    token, done = _trio().lowlevel.current_trio_token(), _trio().Event()

    def tell(_running: object) -> None:
        with suppress(RuntimeError):  # the run is over: nobody waits
            token.run_sync_soon(done.set)

    running.add_done_callback(tell)
    await done.wait()
    running.result()


async def run_in_thread(work: Callable[[], None]) -> None:
    """Run what blocks in a thread of its own."""
    if runs_trio():
        await _trio().to_thread.run_sync(work)
    else:
        await asyncio.to_thread(work)


def _trio() -> Any:
    return sys.modules["trio"]
