"""What happens around a fork: nothing of ours is under way in the parent, and the child starts anew.

gunicorn --preload builds the app, and so our objects, before it forks its workers. SQLite keeps books on the locks of
a process in memory that a child inherits; a connection open at the fork would leave these books wrong for ever.
"""

import os
import threading
import weakref
from os import getpid
from typing import Protocol


class Restartable(Protocol):
    """Something whose threads, locks and descriptors belong to one process."""

    def restart(self) -> None:
        """Begin as if newly built. Called in the child, before any other code of ours."""


class Forkable(Restartable, Protocol):
    """Something that must also come to rest in the parent while it forks."""

    def before_fork(self) -> None:
        """Finish what is under way, let nothing new begin, and close what a child must not inherit."""

    def after_fork(self) -> None:
        """Go on, in the parent."""


_restartable: weakref.WeakSet[Restartable] = weakref.WeakSet()
_forkable: weakref.WeakSet[Forkable] = weakref.WeakSet()
_pid = getpid()  # of the process that all of it belongs to
_detection_locks: dict[int, threading.Lock] = {}  # by pid: who restarts


def restart_after_fork(item: Restartable) -> None:
    """Have `item.restart()` called in every forked child for as long as `item` lives."""
    _restartable.add(item)


def pause_during_fork(item: Forkable) -> None:
    """Have `item` rest in the parent during every fork, and restart in the child."""
    _forkable.add(item)
    _restartable.add(item)


def detect_fork() -> None:
    """Restart everything, once, in a child of a fork that Python was not told of; elsewhere it costs next to nothing.

    uWSGI forks in C, after it has built the app. Called before a request is decided and before a connection is taken.
    """
    if getpid() != _pid:
        with _detection_locks.setdefault(getpid(), threading.Lock()):  # a lock of the parent's may be held for ever
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
