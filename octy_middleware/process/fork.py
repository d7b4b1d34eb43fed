"""Fork handling: objects finish their work in the parent before a fork, and start again in the child.

`gunicorn --preload` builds the app, and so our objects, before it forks its workers. SQLite keeps the locks of a
process in memory that a child inherits; a connection that is open during the fork would leave wrong locks for ever.
"""

import os
import threading
import weakref
from os import getpid
from typing import Protocol


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


_restartable: weakref.WeakSet[Restartable] = weakref.WeakSet()
_forkable: weakref.WeakSet[Forkable] = weakref.WeakSet()
_pid = getpid()  # of the process that the objects belong to
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
    if getpid() != _pid:
        with _detection_locks.setdefault(getpid(), threading.Lock()):  # an inherited lock might never be released
            if getpid() != _pid:
                _in_child()


def _before() -> None:
    for item in list(_forkable):
        item.before_fork()


def _in_parent() -> None:
    for item in list(_forkable):
        item.after_fork()


def _in_child() -> None:
    global _pid  # noqa: PLW0603
    for item in list(_restartable):
        item.restart()
    _pid = getpid()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
