"""Waiting for a commit in an asyncio or trio task. trio is imported only where the host runs it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from octy_middleware.errors import ConfigurationError
from octy_middleware.process.async_libraries import imported_trio, is_trio_running
from octy_middleware.recording.commit_waiter import CommitWaiter, TaskWaiter

if TYPE_CHECKING:
    import trio


class TrioWaiter(CommitWaiter):
    """Waits in a trio task."""

    __slots__ = ("_event", "loop")

    def __init__(self) -> None:
        super().__init__()
        self.loop: _TrioLoop = _TrioLoop(imported_trio().lowlevel.current_trio_token())
        self._event: trio.Event | None = None

    async def wait(self, seconds: float) -> None:
        """See `TaskWaiter`."""
        if self.result is not None:
            return
        self._event = imported_trio().Event()
        with imported_trio().move_on_after(seconds):
            await self._event.wait()

    def wake(self) -> None:
        """See `CommitWaiter`. Called in trio's own thread."""
        if self._event is not None:
            self._event.set()


class _TrioLoop:
    """A trio run as a `Loop`. Equal for the same run, so that `settle` wakes all its waiters with one call."""

    __slots__ = ("_token",)

    def __init__(self, token: "trio.lowlevel.TrioToken") -> None:
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TrioLoop) and other._token is self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def call_soon_threadsafe(
        self, callback: Callable[[Sequence[CommitWaiter]], object], waiters: Sequence[CommitWaiter]
    ) -> None:
        """Call back in trio's thread. Raises RuntimeError once the run is over."""
        self._token.run_sync_soon(callback, waiters)


def make_waiter() -> TaskWaiter | TrioWaiter:
    """Return a waiter for the library that runs this request. Raises ConfigurationError for others than these two."""
    try:
        return TaskWaiter()
    except RuntimeError:
        if not is_trio_running():
            raise ConfigurationError(
                "this server runs neither asyncio nor trio, so outcomes cannot be recorded → "
                "run the app on an asyncio or trio server"
            ) from None
    return TrioWaiter()
