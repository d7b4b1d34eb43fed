"""Connections and transactions on one database, the same for SQLite and PostgreSQL.

What differs between the two is in their backends (`sqlite`, `postgres`); the version of the schema is in
`schema_version`.
"""

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from octy_middleware.db.backend import Backend, Listener, WriteMode
from octy_middleware.db.batch_transaction import BatchTransaction
from octy_middleware.db.bulk_sql import InputRows, Query
from octy_middleware.db.pinned_connection import PinnedConnection
from octy_middleware.errors import (
    ConfigurationError,
    DatabaseSetupError,
    DatabaseUnavailableError,
    StandbyError,
)
from octy_middleware.process.fork import detect_fork, pause_during_fork

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

_BUSY_TIMEOUT = 5.0  # seconds that a writer waits for the other writers
_URL_FORMS = "give sqlite:///<file> or postgresql://<user>@<host>/<database>"
_MAX_RECONNECTS = 100  # more connections than any pool of ours holds
_CHANGED_KEYS = "octy_changed_keys"  # in a connection's `info`
_BACKEND = "octy_backend"  # in a connection's `info`: for functions that get the connection only

_Result = TypeVar("_Result")
_listeners: dict[str, weakref.WeakSet["KeyChangeListener"]] = {}  # by URL: of all Database objects of this process


class KeyChangeListener(Protocol):
    """Is called after each commit of this process that changed keys."""

    def invalidate(self, public_keys: Iterable[str]) -> None:
        """Drop what is cached of these keys."""


def mark_changed(connection: Connection, *public_keys: str) -> None:
    """Have this process's listeners called with these keys once the caller's transaction has committed.

    Call it before the rows of the change feed are written: it takes the feed's lock, so that the rows of all processes
    are committed in order.
    """
    connection.info[_BACKEND].lock_feed(connection)
    connection.info.setdefault(_CHANGED_KEYS, []).extend(public_keys)


def notify(connection: Connection) -> None:
    """Wake all outbox listeners once the caller's transaction has committed."""
    connection.info[_BACKEND].notify(connection)


def mark_erased(connection: Connection) -> None:
    """Have a secret that this transaction erases removed from the database's files too, after the commit."""
    connection.info[_BACKEND].mark_erased(connection)


class Database:
    """One database of the given SQLAlchemy URL. Connections are made on first use, and again in each forked process.

    All methods raise DatabaseUnavailableError when the database can't answer; the transaction is then rolled back.
    """

    def __init__(self, url: str, *, busy_timeout: float = _BUSY_TIMEOUT) -> None:
        """Raises ConfigurationError for a URL that is not supported."""
        self.backend = open_backend(url, busy_timeout)
        self.url = self.backend.url
        self._busy_timeout = busy_timeout
        self._pinned: weakref.WeakSet[PinnedConnection] = weakref.WeakSet()
        weakref.finalize(self, _close_all, self._pinned)
        self.engine = self._make_engine()
        self._paused_for_fork = False
        pause_during_fork(self)

    def restart(self) -> None:
        """Drop the parent's connections and lock, in a forked child."""
        self.backend.restart()
        for pinned in list(self._pinned):
            pinned.restart()
        paused, self._paused_for_fork = self._paused_for_fork, False
        # The parent still uses what the child inherited. `before_fork` closed what was idle; where it was not called,
        # SQLite must close it: its record of a process's locks is in memory and counts open connections.
        self.engine.dispose(close=not paused and self.backend.closes_inherited)
        self.engine = self._make_engine()

    def before_fork(self) -> None:
        """Wait for this process's writer, then close the connections."""
        self._paused_for_fork = True
        self.backend.before_fork()
        for pinned in list(self._pinned):
            pinned.before_fork()
        self.engine.pool.dispose()  # only idle ones: a server's connection in use goes back into this very pool

    def after_fork(self) -> None:
        """Let writers begin again, in the parent; new connections are made on the next use."""
        self._paused_for_fork = False
        for pinned in list(self._pinned):
            pinned.after_fork()
        self.backend.after_fork()

    def _make_engine(self) -> Engine:
        engine = self.backend.make_engine()
        weakref.finalize(self, engine.dispose)  # for callers that never call `close`
        return engine

    def pin_connection(self) -> PinnedConnection:
        """Return a connection for the use of one thread, for `query` and `write_batch`. It is closed when collected."""
        pinned = PinnedConnection()
        self._pinned.add(pinned)
        return pinned

    def query(self, pinned: PinnedConnection, statement: Callable[[Connection], _Result]) -> _Result:
        """Return the result of one SELECT, run by the driver itself without a transaction on the pinned connection.

        It is repeated on a new connection when this one turns out to be closed: nothing was changed by it.
        """
        detect_fork()
        with self._translate_errors(), self._use_pinned(pinned) as connection:
            return self._run_first(connection, statement)

    def _is_standby(self, error: Exception) -> bool:
        """Whether the error says that the server is a standby; if so, discard all connections made until now."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        found = isinstance(cause, StandbyError) or self.backend.is_standby(cause)
        if found:
            self.backend.discard_connections()
        return found

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only transaction, which sees one consistent state."""
        detect_fork()
        begin = partial(self.backend.begin, mode=None, timeout=0.0)
        with self._translate_errors(), self._connect(begin) as (connection, _), connection.begin():
            yield connection

    @contextmanager
    def write(self, *, timeout: float | None = None, mode: WriteMode = WriteMode.EXCLUSIVE) -> Iterator[Connection]:
        """Open a transaction that writes; commits at the end, rolls back on any exception.

        `timeout`: seconds to wait for other writers; by default the `busy_timeout`. `mode`: which other writers may
        run at the same time, on a database that allows several.
        """
        wait = self._busy_timeout if timeout is None else timeout
        with self._transaction(lambda connection: self.backend.begin(connection, mode, wait), wait) as (connection, _):
            yield connection

    @contextmanager
    def write_batch(
        self,
        keys: Collection[str] | None,
        *queries: tuple[Query, InputRows],
        pinned: PinnedConnection | None = None,
    ) -> Iterator[BatchTransaction]:
        """Open a recorder's transaction: lock these keys against other recorders, and run the queries.

        `keys`: None locks all other recorders out. `pinned`: the connection to use. What is added to the transaction is
        written, and committed, at the end; an exception rolls it back.
        """
        locked = None if keys is None else sorted(keys)
        wait = self._busy_timeout
        begin = partial(self.backend.begin_batch, public_keys=locked, queries=queries, timeout=wait)
        with self._transaction(begin, wait, pinned) as (connection, found):
            transaction = BatchTransaction(connection, found)
            yield transaction
            self.backend.commit_batch(connection, transaction.writes)

    @contextmanager
    def _transaction(
        self, begin: Callable[[Connection], _Result], timeout: float, pinned: PinnedConnection | None = None
    ) -> Iterator[tuple[Connection, _Result]]:
        """Begin a transaction that writes; commit it at the end, then notify listeners of this process."""
        detect_fork()
        changed: list[str] = []
        with (
            self._translate_errors(),
            self.backend.hold_write_lock(timeout),
            self._connect(begin, pinned) as (connection, found),
        ):
            try:
                with connection.begin():
                    yield connection, found
                self.backend.check_committed(connection)
                changed = connection.info.get(_CHANGED_KEYS, [])
                self.backend.after_commit(connection)
            finally:
                connection.info.pop(_CHANGED_KEYS, None)
        if changed:
            for listener in list(_listeners.get(str(self.url), ())):
                listener.invalidate(changed)

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """Open a session on a read-only transaction."""
        with self.read() as connection, Session(connection) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """Open a session on a transaction that writes; flushed and committed at the end."""
        with self.write() as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.flush()

    def refresh_statistics(self, connection: Connection, *tables: str) -> None:
        """Update the planner's statistics of these tables, at the end of a transaction that wrote many rows."""
        self.backend.refresh_statistics(connection, *tables)

    def add_key_listener(self, listener: KeyChangeListener) -> None:
        """Call `listener` (held weakly) after each commit of this process that changed keys in this database."""
        _listeners.setdefault(str(self.url), weakref.WeakSet()).add(listener)

    def listen(self) -> Listener:
        """Return a listener that is woken by `notify` in any process."""
        return self.backend.listen()

    def close(self) -> None:
        """Close this process's connections."""
        _close_all(self._pinned)
        self.engine.dispose()

    @contextmanager
    def _connect(
        self, begin: Callable[[Connection], _Result], pinned: PinnedConnection | None = None
    ) -> Iterator[tuple[Connection, _Result]]:
        """Take a connection and begin a transaction on it."""
        with self._connect_from_pool() if pinned is None else self._use_pinned(pinned) as connection:
            found = self._run_first(connection, begin)
            connection.info[_BACKEND] = self.backend
            yield connection, found

    def _use_pinned(self, pinned: PinnedConnection) -> AbstractContextManager[Connection]:
        return pinned.use(self._connect_from_pool, self.backend.is_current)

    def _connect_from_pool(self) -> Connection:
        try:
            return self.engine.connect()
        except InvalidRequestError as error:  # the file changed at every attempt of the pool
            raise DatabaseUnavailableError(f"{self.backend.display_name} is being replaced: {error}") from error

    def _run_first(self, connection: Connection, statement: Callable[[Connection], _Result]) -> _Result:
        """Run the first statement on an open connection to the primary; another connection is replaced first."""
        retried = False
        for _ in range(_MAX_RECONNECTS):  # a restarted server has closed all of them
            driver = cast("DBAPIConnection", connection.connection.dbapi_connection)
            try:
                return statement(connection)
            except Exception as error:
                if not self.engine.dialect.is_disconnect(error, driver, None):  # type: ignore[arg-type]
                    if retried or not self._is_standby(error):
                        raise
                    retried = True
                connection.invalidate(error)
        raise DatabaseUnavailableError(f"{self.backend.display_name} closes every connection")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise DatabaseUnavailableError, or a subclass, for an outage, a lock timeout, a full disk or a refusal."""
        try:
            yield
        except PoolTimeoutError as error:
            raise DatabaseUnavailableError("all connections to the database are in use") from error
        except OSError as error:
            raise DatabaseUnavailableError(f"the database's lock file can't be used: {error}") from error
        except Exception as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if cause is error:  # raised by the driver itself: SQLAlchemy's hook was not called
                self.backend.redact_values(error)
            message = " ".join(str(cause).split())  # some drivers use several lines
            if self.backend.is_standby(cause):
                self.backend.discard_connections()
                raise StandbyError(f"{self.backend.display_name} takes no writes: {message}") from error
            if hint := self.backend.setup_hint(cause):
                raise DatabaseSetupError(f"the database refuses: {type(cause).__name__}: {message} → {hint}") from error
            if not lost and not self.backend.is_outage(cause):
                raise
            raise DatabaseUnavailableError(f"the database did not answer: {type(cause).__name__}: {message}") from error


def _close_all(pinned: Iterable[PinnedConnection]) -> None:
    for connection in list(pinned):
        connection.close()


def open_backend(url: str, busy_timeout: float) -> Backend:
    """Return the backend for a SQLAlchemy URL. Raises ConfigurationError, with what to do, for any other."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):  # the error's text may contain a part of the password
        raise ConfigurationError(
            f"database_url: this is no URL: {_URL_FORMS}; in a password write @ as %40, / as %2F and : as %3A"
        ) from None
    return _backend_of(parsed, busy_timeout)


def _backend_of(url: URL, busy_timeout: float) -> Backend:
    name = url.get_backend_name()
    if name == "sqlite":
        from octy_middleware.db.sqlite import SqliteBackend  # noqa: PLC0415  # load the backend in use only

        return SqliteBackend(url, busy_timeout)
    if name in ("postgresql", "postgres"):
        try:
            from octy_middleware.db.postgres import PostgresBackend  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                f"database_url: PostgreSQL needs psycopg 3: pip install 'octy-middleware[postgres]' ({error})"
            ) from None
        return PostgresBackend(url, busy_timeout)
    raise ConfigurationError(f"database_url: {_URL_FORMS}")
