"""A connection that one thread keeps from transaction to transaction, where it has hundreds a second.

Here: taking it, giving it up, and what becomes of it in a fork. Not here: transactions (`database`). A pool hands a
connection out and takes it back in more time than SQLite needs to look up a key, and each of its steps gives the
interpreter's lock away.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection

_FORK_TIMEOUT = 1.0  # seconds that a fork waits for who uses it
_inherited: list[
    Connection
] = []  # in a child: the parent's, in use at the fork; to collect them would end them for both


class PinnedConnection:
    """At most one connection, opened on first use. Users take turns; one that fails is given up."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._paused_for_fork = False

    def restart(self) -> None:
        """Begin without one, in a forked child."""
        if self._connection is not None:
            _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()
        self._paused_for_fork = False

    @contextmanager
    def use(self, connect: Callable[[], Connection], is_sound: Callable[[Connection], bool]) -> Iterator[Connection]:
        """Give the kept connection if it is sound, else a new one. Whoever raises with it in hand has it closed."""
        with self._lock:
            connection = self._connection
            if connection is None or not is_sound(connection):
                self._drop()
                connection = self._connection = connect()
            try:
                yield connection
            except BaseException:
                self._drop()
                raise

    def close(self, timeout: float = 1.0) -> None:
        """Close it, unless somebody needs it for longer than that; the next use opens another one."""
        if self._lock.acquire(timeout=timeout):
            try:
                self._drop()
            finally:
                self._lock.release()

    def before_fork(self) -> None:
        """Wait for who uses it, and close it: a child must not inherit it."""
        self._paused_for_fork = self._lock.acquire(timeout=_FORK_TIMEOUT)
        if self._paused_for_fork:
            self._drop()

    def after_fork(self) -> None:
        """Let it be used again."""
        if self._paused_for_fork:
            self._paused_for_fork = False
            self._lock.release()

    def __del__(self) -> None:
        """Leave no connection open, nor one of the pool's places taken."""
        with suppress(Exception):  # at the interpreter's end much is gone
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # closed for good: back in the pool it would wait for nobody
            connection.close()
