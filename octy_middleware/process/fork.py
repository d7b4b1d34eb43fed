"""Fork handling: objects finish their work in the parent before a fork, and start again in the child.

`gunicorn --preload` builds the app, and so our objects, before it forks its workers. SQLite keeps the locks of a
process in memory that a child inherits; a connection that is open during the fork would leave wrong locks for ever.
"""

import mmap
import os
import sys
import threading
import weakref
from os import getpid
from typing import Protocol

_MADV_WIPEONFORK = 18


class Restartable(Protocol):
    """An object whose threads, locks and descriptors belong to one process."""

    def restart(self) -> None:
        """Reset to the state after construction. Called in the child before any other code of this package."""


class Forkable(Restartable, Protocol):
    """An object that must also pause in the parent during a fork."""

    def before_fork(self) -> None:
        """Finish running work, start nothing new, and close what a child must not inherit."""

    def after_fork(self) -> None:
        """Continue in the parent."""


class _PidMark:  # pragma: no cover - another platform
    """Does by a system call what a page does that the kernel clears in a forked child."""

    def __init__(self) -> None:
        self._pid = getpid()

    def __getitem__(self, _place: int) -> int:
        return int(getpid() == self._pid)

    def __setitem__(self, _place: int, _value: int) -> None:
        self._pid = getpid()


def _make_process_mark() -> mmap.mmap | _PidMark:
    """Return memory that is cleared in every forked child, also by a fork in C (Linux 4.14; madvise(2))."""
    if sys.platform != "linux":  # pragma: no cover - another platform
        return _PidMark()
    try:
        mark = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        mark.madvise(_MADV_WIPEONFORK)
    except OSError:  # pragma: no cover - an older kernel
        return _PidMark()
    mark[0] = 1
    return mark


_restartable: weakref.WeakSet[Restartable] = weakref.WeakSet()
_forkable: weakref.WeakSet[Forkable] = weakref.WeakSet()
process_mark = _make_process_mark()
"""`process_mark[0]` is 0 in a forked child until all objects have restarted there. To read it takes no system call."""
_detection_locks: dict[int, threading.Lock] = {}  # by pid


def restart_after_fork(item: Restartable) -> None:
    """Call `item.restart()` in every forked child as long as `item` exists."""
    _restartable.add(item)


def pause_during_fork(item: Forkable) -> None:
    """Pause `item` in the parent during every fork, and restart it in the child."""
    _forkable.add(item)
    _restartable.add(item)


def detect_fork() -> None:
    """Restart all objects, once, in a child of a fork that ran no hooks of Python. Otherwise it costs almost nothing.

    uWSGI forks in C, after it has built the app. Called before a request is decided and before a connection is taken.
    """
    if not process_mark[0]:
        with _detection_locks.setdefault(getpid(), threading.Lock()):  # an inherited lock might never be released
            if not process_mark[0]:  # pragma: no branch - another thread has just restarted them
                _in_child()


def _before() -> None:
    for item in list(_forkable):
        item.before_fork()


def _in_parent() -> None:
    for item in list(_forkable):
        item.after_fork()


def _in_child() -> None:
    for item in list(_restartable):
        item.restart()
    process_mark[0] = 1


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
