"""What a process forked from one of ours must do first: start anew, with the parent's threads and files left alone.

gunicorn --preload builds the app, and so our objects, before it forks its workers.
"""

import os
import weakref
from typing import Protocol


class Restartable(Protocol):
    """Something whose threads, locks and descriptors belong to one process."""

    def restart(self) -> None:
        """Begin as if newly built. Called in the child, before any other code of ours."""


_objects: weakref.WeakSet[Restartable] = weakref.WeakSet()


def restart_after_fork(item: Restartable) -> None:
    """Have `item.restart()` called in every forked child for as long as `item` lives."""
    _objects.add(item)


def _restart_all() -> None:
    for item in list(_objects):
        item.restart()


os.register_at_fork(after_in_child=_restart_all)
