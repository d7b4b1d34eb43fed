"""The store: transactions, who is told of changed keys, and the check of the schema's release.

Here: how a transaction begins, ends and fails, the same on every kind of database. Not here: what is read or written
in it, and what is special to one kind (`sqlite`, `postgres`).
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, inspect, make_url
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from octy_middleware.db.backend import VERSION_TABLE, Backend, Listener, WriteMode
from octy_middleware.db.pinned_connection import PinnedConnection
from octy_middleware.errors import (
    ConfigurationError,
    DatabaseSetupError,
    DatabaseUnavailableError,
    SchemaError,
    StandbyError,
)
from octy_middleware.process.fork import notice_fork, rest_while_forking

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

SCHEMA = "0001"
"""The migration that this release's tables are at."""

COMPATIBLE = "compatible_back_to"
"""The column beside the schema's version: that version, a colon, the oldest schema whose release can work with it."""

_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # our own name
_BUSY_TIMEOUT = 5.0  # seconds that a writer waits for the others
_URL_FORMS = "give sqlite:///<file> or postgresql://<user>@<host>/<database>"
_MAX_RECONNECTS = 100  # more connections than any pool of ours holds
_CHANGED_KEYS = "octy_changed_keys"
_BACKEND = "octy_backend"  # in a connection's `info`: for those who are handed one of our connections alone

_Result = TypeVar("_Result")
_listeners: dict[str, weakref.WeakSet["KeyChangeListener"]] = {}  # by URL: all Database objects of this process


class KeyChangeListener(Protocol):
    """What is told of changed keys at once when this very process changed them."""

    def forget(self, public_keys: Iterable[str]) -> None:
        """Drop what is remembered of these keys."""


def mark_changed(connection: Connection, *public_keys: str) -> None:
    """Have this process's listeners told of the keys once the caller's transaction has committed.

    Call it before their entries in the change feed are written: those of all processes then commit in order.
    """
    if backend := connection.info.get(_BACKEND):
        backend.lock_feed(connection)
    connection.info.setdefault(_CHANGED_KEYS, []).extend(public_keys)


def notify(connection: Connection) -> None:
    """Have every relay look into the outbox once the caller's transaction has committed."""
    if backend := connection.info.get(_BACKEND):
        backend.notify(connection)


def mark_erased(connection: Connection) -> None:
    """Have a secret that this transaction erases leave the database's files too, once it has committed."""
    if backend := connection.info.get(_BACKEND):
        backend.mark_erased(connection)


class Database:
    """One database of the given SQLAlchemy URL. Connections are made on first use, anew in each forked process.

    All methods raise DatabaseUnavailableError when the store can't answer; the transaction is then rolled back.
    """

    def __init__(self, url: str, *, busy_timeout: float = _BUSY_TIMEOUT) -> None:
        """Raises ConfigurationError for a URL that leads to no database of ours."""
        self.backend = open_backend(url, busy_timeout)
        self.url = self.backend.url
        self._busy_timeout = busy_timeout
        self._pinned: weakref.WeakSet[PinnedConnection] = weakref.WeakSet()
        weakref.finalize(self, _close_all, self._pinned)
        self.engine = self._make_engine()
        self._paused_for_fork = False
        rest_while_forking(self)

    def restart(self) -> None:
        """Use connections and a lock of this process's own."""
        self.backend.restart()
        for pinned in list(self._pinned):
            pinned.restart()
        told, self._paused_for_fork = self._paused_for_fork, False
        # The parent still uses what was inherited. It closed what was idle, where it was told of the fork; else SQLite
        # must: its books on a process's locks are in memory, and go by open connections.
        self.engine.dispose(close=not told and self.backend.closes_inherited)
        self.engine = self._make_engine()

    def before_fork(self) -> None:
        """Let the writer of this process finish, then close the connections."""
        self._paused_for_fork = True
        self.backend.before_fork()
        for pinned in list(self._pinned):
            pinned.before_fork()
        self.engine.pool.dispose()  # only idle ones: a server's connection in use goes back into this very pool

    def after_fork(self) -> None:
        """Go on; connections are made anew on the next use."""
        self._paused_for_fork = False
        for pinned in list(self._pinned):
            pinned.after_fork()
        self.backend.after_fork()

    def _make_engine(self) -> Engine:
        engine = self.backend.make_engine()
        weakref.finalize(self, engine.dispose)  # whoever forgets `close` leaves no connection open all the same
        return engine

    def pin_connection(self) -> PinnedConnection:
        """Return a place for a connection of one thread's own, for `query` and `write`; who forgets it closes it."""
        pinned = PinnedConnection()
        self._pinned.add(pinned)
        return pinned

    def query(self, pinned: PinnedConnection, statement: Callable[[Connection], _Result]) -> _Result:
        """Return the answer to one statement, which sees one state without a transaction, on the kept connection.

        It is asked anew on another connection where that one has died since: nothing was changed by it.
        """
        notice_fork()
        with self._translate_errors():
            retried = False
            for _ in range(_MAX_RECONNECTS):  # a server that was restarted has cut them all
                driver = None
                try:
                    with self._use_pinned(pinned) as connection:
                        driver = cast("DBAPIConnection", connection.connection.dbapi_connection)
                        return statement(connection)
                except Exception as error:
                    if self._is_disconnect(error, driver):
                        continue
                    if retried or not self._leads_to_standby(error):
                        raise
                    retried = True
        raise DatabaseUnavailableError(f"every connection to {self.backend.place} breaks")

    def _is_disconnect(self, error: Exception, driver: "DBAPIConnection | None") -> bool:
        return driver is not None and self.engine.dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]

    def _leads_to_standby(self, error: Exception) -> bool:
        """Tell whether a connection turned out to lead to a standby; then all that were made until now are given up."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        found = isinstance(cause, StandbyError) or self.backend.is_standby(cause)
        if found:
            self.backend.discard_connections()
        return found

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state."""
        notice_fork()
        with self._translate_errors(), self._connect(None) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(
        self,
        *,
        timeout: float | None = None,
        mode: WriteMode = WriteMode.EXCLUSIVE,
        pinned: PinnedConnection | None = None,
    ) -> Iterator[Connection]:
        """Open a transaction that writes; commits at the end, rolls back on any exception.

        `timeout`: seconds to wait for other writers, where that is not the `busy_timeout`. `mode` says which others
        may write meanwhile, where the database can have several. `pinned`: the connection to use.
        """
        notice_fork()
        changed: list[str] = []
        wait = self._busy_timeout if timeout is None else timeout
        with (
            self._translate_errors(),
            self.backend.hold_write_lock(wait),
            self._connect(mode, wait, pinned) as connection,
        ):
            try:
                with connection.begin():
                    yield connection
                self.backend.check_committed(connection)
                changed = connection.info.get(_CHANGED_KEYS, [])
                self.backend.after_commit(connection)
            finally:
                connection.info.pop(_CHANGED_KEYS, None)
        if changed:
            for listener in list(_listeners.get(str(self.url), ())):
                listener.forget(changed)

    def lock_keys(self, connection: Connection, public_keys: Iterable[str]) -> None:
        """Keep other recorders off these keys until the end of a `WriteMode.RECORDER`'s transaction."""
        self.backend.lock_keys(connection, sorted(public_keys))

    def refresh_statistics(self, connection: Connection, *tables: str) -> None:
        """Tell the planner of many new rows in these tables, at the end of the transaction that wrote them."""
        self.backend.refresh_statistics(connection, *tables)

    def add_key_listener(self, listener: KeyChangeListener) -> None:
        """Tell `listener` (held weakly) of every key that this process changes in this database, after the commit."""
        _listeners.setdefault(str(self.url), weakref.WeakSet()).add(listener)

    def listen(self) -> Listener:
        """Return what waits for messages that any process puts into the outbox."""
        return self.backend.listen()

    @contextmanager
    def _connect(
        self, mode: WriteMode | None, timeout: float = 0.0, pinned: PinnedConnection | None = None
    ) -> Iterator[Connection]:
        """Take a connection and begin."""
        with self._connect_from_pool() if pinned is None else self._use_pinned(pinned) as connection:
            self._begin(connection, mode, timeout)
            connection.info[_BACKEND] = self.backend
            yield connection

    def _use_pinned(self, pinned: PinnedConnection) -> AbstractContextManager[Connection]:
        return pinned.use(self._connect_from_pool, self.backend.is_current)

    def _connect_from_pool(self) -> Connection:
        try:
            return self.engine.connect()
        except InvalidRequestError as error:  # the pool gave up: the file changed at every try
            raise DatabaseUnavailableError(f"{self.backend.place} is being replaced: {error}") from error

    def _begin(self, connection: Connection, mode: WriteMode | None, timeout: float) -> None:
        """Begin on a connection that lives, to the primary. Others are replaced: nothing was asked of them yet."""
        retried = False
        for _ in range(_MAX_RECONNECTS):  # a server that was restarted has cut them all
            driver = cast("DBAPIConnection", connection.connection.dbapi_connection)
            try:
                self.backend.begin(connection, mode, timeout)
            except Exception as error:
                if not self._is_disconnect(error, driver):
                    if retried or not self._leads_to_standby(error):
                        raise
                    retried = True
                connection.invalidate(error)
            else:
                return
        raise DatabaseUnavailableError(f"every connection to {self.backend.place} breaks")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn what drivers raise when the store is away, locked or full into one error of ours."""
        try:
            yield
        except PoolTimeoutError as error:
            raise DatabaseUnavailableError("every connection to the store is in use") from error
        except OSError as error:
            raise DatabaseUnavailableError(f"the store's lock file can't be used: {error}") from error
        except Exception as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if cause is error:  # of a hot statement, which SQLAlchemy has not seen
                self.backend.redact_values(error)
            told = " ".join(str(cause).split())  # some drivers take several lines
            if self.backend.is_standby(cause):
                self.backend.discard_connections()
                raise StandbyError(f"{self.backend.place} takes no writes: {told}") from error
            if hint := self.backend.setup_hint(cause):
                raise DatabaseSetupError(f"the database refuses: {type(cause).__name__}: {told} → {hint}") from error
            if not lost and not self.backend.is_outage(cause):
                raise
            raise DatabaseUnavailableError(f"the store did not answer: {type(cause).__name__}: {told}") from error

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """Open a session on a reading transaction."""
        with self.read() as connection, Session(connection) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """Open a session on a writing transaction; flushed and committed at the end."""
        with self.write() as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.flush()

    def schema(self) -> str | None:
        """Return the migration that the database is at, or None when it is empty or not there yet."""
        if self.backend.is_missing():
            return None
        with self.read() as connection:
            if not inspect(connection).has_table(VERSION_TABLE):
                return None
            row = connection.exec_driver_sql(_VERSION).first()
            return None if row is None else str(row[0])

    def check_schema(self) -> None:
        """Raise SchemaError, with what to do, unless this release can work with the database's schema.

        A newer one says with which older releases it is compatible: their apps may run, and restart, beside newer ones.
        """
        found = self.schema()
        if found is None:
            self._check_hidden_and_foreign_tables()
            raise SchemaError("the database has no tables yet: run `octy db upgrade`")
        if found < SCHEMA:
            raise SchemaError(f"the database is at schema {found}, this release needs {SCHEMA}: run `octy db upgrade`")
        if found > SCHEMA and not self._is_compatible():
            raise SchemaError(
                f"the database is at schema {found}, newer than this release's {SCHEMA}: install the newer release, "
                f"or run `octy db downgrade {SCHEMA}` by it"
            )

    def _check_hidden_and_foreign_tables(self) -> None:
        from octy_middleware.db.foreign_tables import refuse_foreign_tables  # noqa: PLC0415  # it knows all tables

        if self.backend.is_missing():
            return
        with self.read() as connection:
            refuse_foreign_tables(connection, self.backend)
            if hidden := self.backend.schemas_without_usage(connection):
                raise SchemaError(
                    f"this role may not look into the schema {hidden} of {self.backend.place} → GRANT USAGE ON SCHEMA "
                    f"{hidden} to it, and what it needs on the tables"
                )

    def _is_compatible(self) -> bool:
        """Tell whether a newer schema is compatible with this release's. What was said of another schema is void."""
        with self.read() as connection:
            if COMPATIBLE not in {column["name"] for column in inspect(connection).get_columns(VERSION_TABLE)}:
                return False
            row = connection.exec_driver_sql(
                f"SELECT version_num, {COMPATIBLE} FROM {VERSION_TABLE}"  # noqa: S608  # our own names
            ).first()
        if row is None or row[1] is None:
            return False
        of, _, back_to = str(row[1]).partition(":")
        return of == row[0] and back_to <= SCHEMA

    def check_schema_if_available(self) -> None:
        """Raise SchemaError, with what to do, when the database is there and at another schema, or is empty.

        One that is away comes back: a host app starts without it. No connection is left open: a server may fork next.
        """
        try:
            if not self.backend.is_missing():
                self.check_schema()
        except DatabaseUnavailableError:
            pass
        finally:
            self.engine.pool.dispose()  # idle ones: the host may use this object already

    def close(self) -> None:
        """Close this process's connections."""
        _close_all(self._pinned)
        self.engine.dispose()


def _close_all(pinned: Iterable[PinnedConnection]) -> None:
    for one in list(pinned):
        one.close()


def open_backend(url: str, busy_timeout: float) -> Backend:
    """Return the backend for a SQLAlchemy URL. Raises ConfigurationError, with what to do, for any other."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):  # their words may hold a piece of the password
        raise ConfigurationError(
            f"database_url: this is no URL: {_URL_FORMS}; in a password write @ as %40, / as %2F and : as %3A"
        ) from None
    return _backend_of(parsed, busy_timeout)


def _backend_of(url: URL, busy_timeout: float) -> Backend:
    name = url.get_backend_name()
    if name == "sqlite":
        from octy_middleware.db.sqlite import SqliteBackend  # noqa: PLC0415  # a host loads what it uses

        return SqliteBackend(url, busy_timeout)
    if name in ("postgresql", "postgres"):
        from octy_middleware.db.postgres import PostgresBackend  # noqa: PLC0415

        return PostgresBackend(url, busy_timeout)
    raise ConfigurationError(f"database_url: {_URL_FORMS}")
