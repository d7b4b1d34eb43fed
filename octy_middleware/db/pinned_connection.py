"""A connection that one thread keeps between transactions, for hundreds of them a second.

The pool's checkout and return take longer than SQLite needs to find a key, and each of their steps releases the GIL.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection

_TIMEOUT = 1.0  # seconds that a fork, or a close, waits for the current user
# In a forked child: the parent's connections that were in use at the fork. Collecting one would end it for both.
_inherited: list[Connection] = []


class PinnedConnection:
    """At most one connection, opened on first use. One user at a time; closed after an exception."""

    def __init__(self, timeout: float = _TIMEOUT) -> None:
        self._timeout = timeout
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._paused_for_fork = False

    def restart(self) -> None:
        """Drop the parent's connection and lock, in a forked child."""
        if self._connection is not None:
            _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()
        self._paused_for_fork = False

    @contextmanager
    def use(self, connect: Callable[[], Connection], is_current: Callable[[Connection], bool]) -> Iterator[Connection]:
        """Yield the pinned connection if `is_current` says so, else a new one; close it when the block raises."""
        with self._lock:
            connection = self._connection
            if connection is None or not is_current(connection):
                self._drop()
                connection = self._connection = connect()
            try:
                yield connection
            except BaseException:
                self._drop()
                raise

    def close(self) -> None:
        """Close the connection, unless it is in use for long; the next use opens another one."""
        if self._lock.acquire(timeout=self._timeout):
            try:
                self._drop()
            finally:
                self._lock.release()

    def before_fork(self) -> None:
        """Wait for the current user, and close the connection: a child must not inherit it."""
        self._paused_for_fork = self._lock.acquire(timeout=self._timeout)
        if self._paused_for_fork:
            self._drop()

    def after_fork(self) -> None:
        """Let it be used again, in the parent."""
        if self._paused_for_fork:
            self._paused_for_fork = False
            self._lock.release()

    def __del__(self) -> None:
        """Close the connection and free its place in the pool."""
        with suppress(Exception):  # at the interpreter's exit much is gone
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # closed, not returned: the pool would keep it idle
            connection.close()
