"""SIGTERM: what is queued is written before the process ends, also on servers that tell nobody of their end.

Here: the handler, which waits for nothing and takes no lock: it may have interrupted whoever holds it. Not here:
lifespans (`lifespan`), the interpreter's end (`drain`).

A handler of the host's or the server's that was there before is called; one that is set later replaces ours. Where
there is none the process ends by the signal, as it would without us, once what is queued is written or after
`_FLUSH_TIMEOUT` seconds. SIGINT needs nothing: Python ends by KeyboardInterrupt then, and `atexit` runs.
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
    """What has something to write at the end of the process."""

    def commit_before_response(self) -> None:
        """From now on write everything before its answer. Takes no lock."""

    def flush(self, timeout: float) -> None:
        """Write what is queued."""


_flushables: WeakSet[Flushable] = WeakSet()
_previous: Handler = None


def flush_on_sigterm(item: Flushable) -> None:
    """Have the item written at SIGTERM, where that can be had without harm.

    That is: in the main thread, and where the signal is Python's. uWSGI and Apache handle it in C, and a handler of
    Python's would take it away from them.
    """
    global _previous  # noqa: PLW0603  # there is one handler a process
    _flushables.add(item)
    if threading.current_thread() is not threading.main_thread() or "mod_wsgi" in sys.modules:
        return
    current = signal.getsignal(signal.SIGTERM)
    if current is _on_sigterm or not (current is _DEFAULT or callable(current)):
        return
    if _previous is not None and current is not _DEFAULT:  # set after ours: it may call ours
        return
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
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    if not _start_thread(_flush_and_end):
        os.kill(os.getpid(), number)


def _start_thread(work: Callable[[], None]) -> bool:
    """Run it beside us: threads of `threading` take locks when they start, this one does not."""
    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:  # the interpreter is ending: `atexit` has its turn
        return False
    return True


def _flush() -> None:
    deadline = time.monotonic() + _FLUSH_TIMEOUT
    for item in list(_flushables):
        item.flush(max(0.0, deadline - time.monotonic()))


def _flush_and_end() -> None:
    try:
        _flush()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
