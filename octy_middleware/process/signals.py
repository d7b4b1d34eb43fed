"""SIGTERM handler: writes queued outcomes before the process ends, also on servers that have no shutdown hook.

The handler waits for nothing and takes no lock, because it may have interrupted the thread that holds it. An earlier
handler of the host or the server is called; a later one replaces ours. Without another handler the process ends by the
signal, once queued outcomes are written or after `_FLUSH_TIMEOUT` seconds. SIGINT needs no handler: Python then ends by
KeyboardInterrupt, and `atexit` runs.
"""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol
from weakref import WeakSet

_FLUSH_TIMEOUT = 2.0  # seconds
_DEFAULT = signal.Handlers.SIG_DFL
Handler = Callable[[int, FrameType | None], object] | int | None


class Flushable(Protocol):
    """An object with data to write before the process ends."""

    def commit_before_response(self) -> None:
        """From now on commit every outcome before its response. Takes no lock."""

    def flush(self, timeout: float) -> None:
        """Write queued outcomes within `timeout` seconds."""


_flushables: WeakSet[Flushable] = WeakSet()
_previous: Handler = None


def flush_on_sigterm(item: Flushable) -> None:
    """Flush the item at SIGTERM, where a handler can be set safely.

    That is in the main thread, and where Python handles the signal. uWSGI and Apache handle it in C, and a handler in
    Python would replace theirs.
    """
    global _previous  # noqa: PLW0603  # there is one handler a process
    _flushables.add(item)
    if threading.current_thread() is not threading.main_thread() or "mod_wsgi" in sys.modules:
        return
    current = signal.getsignal(signal.SIGTERM)
    if current is _on_sigterm or not (current is _DEFAULT or callable(current)):
        return
    if _previous is not None and current is not _DEFAULT:  # set after ours: it may call ours
        return  # pragma: no cover - SIGTERM ends the process of its test
    with suppress(ValueError):  # a sub-interpreter
        signal.signal(signal.SIGTERM, _on_sigterm)
        _previous = current


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    for item in list(_flushables):
        item.commit_before_response()
    previous = _previous
    if callable(previous):
        _start_thread(_flush)
        previous(number, frame)
        return
    # A second signal ends the process at once.
    signal.signal(number, signal.SIG_DFL)  # pragma: no cover - its default action ends the process unsaved
    if not _start_thread(_flush_and_end):  # pragma: no cover - the same
        os.kill(os.getpid(), number)


def _start_thread(work: Callable[[], None]) -> bool:
    """Start a thread without `threading`, whose threads take locks when they start. Return whether it started."""
    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:  # pragma: no cover - no thread is left, or the interpreter is exiting
        return False
    return True


def _flush() -> None:  # pragma: no cover - coverage does not see this thread
    deadline = time.monotonic() + _FLUSH_TIMEOUT
    for item in list(_flushables):
        item.flush(max(0.0, deadline - time.monotonic()))


def _flush_and_end() -> None:  # pragma: no cover - coverage does not see this thread
    try:
        _flush()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
