"""The store: engine, pragmas, and the check of the schema's release.

Here: how a transaction begins, ends and fails. Not here: what is read or written in it.
"""

import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from octy_middleware.errors import ConfigurationError, SchemaError, StoreUnavailableError
from octy_middleware.forking import rest_while_forking
from octy_middleware.write_lock import FileLock

SCHEMA = "0001"
"""The migration that this release's tables are at."""

_BUSY_TIMEOUT = 5.0  # seconds that a writer waits for the others
_CHANGED = "octy_changed_keys"
_FILE = "octy_file"  # in a connection's `info`: which file it has open

_listeners: dict[str, weakref.WeakSet["KeyListener"]] = {}  # by URL: all Database objects of this process


class KeyListener(Protocol):
    """What is told of changed keys at once when this very process changed them."""

    def forget(self, public_keys: Iterable[str]) -> None:
        """Drop what is remembered of these keys."""


def mark_changed(connection: Connection, public_key: str) -> None:
    """Have this process's listeners told of the key once the caller's transaction has committed."""
    connection.info.setdefault(_CHANGED, []).append(public_key)


class Database:
    """One database of the given SQLAlchemy URL. Connections are made on first use, anew in each forked process.

    All methods raise StoreUnavailableError when the store can't answer; the transaction is then rolled back.
    """

    def __init__(self, url: str, *, busy_timeout: float = _BUSY_TIMEOUT) -> None:
        try:
            self.url = make_url(url)
        except SQLAlchemyError as error:
            raise ConfigurationError(f"database_url: {error}") from None
        if self.url.get_backend_name() != "sqlite":
            raise ConfigurationError("database_url: this release stores in SQLite only; use sqlite:///<file>")
        if self.url.drivername not in ("sqlite", "sqlite+pysqlite") or self.url.query or "\0" in str(self.url.database):
            raise ConfigurationError("database_url: give sqlite:///<file>, without another driver or options")
        if self.url.database in (None, "", ":memory:"):
            raise ConfigurationError("database_url: an in-memory SQLite loses every outcome; name a file")
        self._busy_timeout = busy_timeout
        self._path = Path(str(self.url.database)).absolute()  # the host may change its folder later
        self._lock = FileLock(self._path.with_name(self._path.name + ".lock-file"), like=self._path)
        self.engine = self._make_engine()
        rest_while_forking(self)

    def restart(self) -> None:
        """Use connections and a lock of this process's own."""
        self._lock.restart()
        self.engine = self._make_engine()

    def before_fork(self) -> None:
        """Let the writer of this process finish, then close the connections."""
        self._lock.before_fork()
        self.engine.dispose()

    def after_fork(self) -> None:
        """Go on; connections are made anew on the next use."""
        self._lock.after_fork()

    def _make_engine(self) -> Engine:
        path, timeout = self._path, self._busy_timeout

        def connect(_dialect: object, record: ConnectionPoolEntry, *_: object) -> sqlite3.Connection:
            record.info[_FILE] = _identity(path)  # before it is opened: a change meanwhile shows at the checkout
            return _open_sqlite(path, timeout)

        def check(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
            if record.info[_FILE] != _identity(path):
                raise DisconnectionError("the file was removed or replaced")

        # Parameters hold digests, sealed secrets and reasons: no error text may show them.
        engine = create_engine(self.url, hide_parameters=True, pool_size=20, max_overflow=30, pool_timeout=timeout)
        event.listen(engine, "do_connect", connect)
        event.listen(engine, "checkout", check)
        event.listen(engine, "begin", _begin_sqlite)
        weakref.finalize(self, engine.dispose)  # whoever forgets `close` leaves no connection open all the same
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state."""
        with _as_store_errors(), self._connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, patience: float | None = None) -> Iterator[Connection]:
        """Open a transaction that writes; commits at the end, rolls back on any exception.

        `patience`: seconds to wait for other writers, where that is not the `busy_timeout`.
        """
        changed: list[str] = []
        wait = self._busy_timeout if patience is None else patience
        with _as_store_errors(), self._lock.hold(wait), self._connect() as connection:
            writer = connection.execution_options(octy_write=True)
            try:
                with writer.begin():
                    yield writer
                self._refuse_ghost(writer)
                changed = writer.info.get(_CHANGED, [])
            finally:
                writer.info.pop(_CHANGED, None)
        if changed:
            for listener in list(_listeners.get(str(self.url), ())):
                listener.forget(changed)

    def tell_changes_to(self, listener: KeyListener) -> None:
        """Tell `listener` (held weakly) of every key that this process changes in this database, after the commit."""
        _listeners.setdefault(str(self.url), weakref.WeakSet()).add(listener)

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except InvalidRequestError as error:  # the pool gave up: the file changed at every try
            raise StoreUnavailableError(f"{self._path} is being replaced: {error}") from error

    def _refuse_ghost(self, connection: Connection) -> None:
        """Raise StoreUnavailableError when the file was removed or replaced during the transaction.

        SQLite goes on in an unlinked file, where nobody will ever read what was committed.
        """
        if connection.info[_FILE] != _identity(self._path):
            raise StoreUnavailableError(f"{self._path} was removed or replaced")

    def create(self) -> None:
        """Make the empty file if there is none. Nothing else does: a file that is away comes back, with its log."""
        try:
            self._path.touch()
        except OSError as error:
            hint = "make its folder first" if isinstance(error, FileNotFoundError) else "run this as the app's user"
            raise StoreUnavailableError(f"{self._path} can't be made ({error.strerror}): {hint}") from error

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
        if _is_missing(self._path):
            return None
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
            return None if row is None else str(row[0])

    def check_schema(self) -> None:
        """Raise SchemaError, with what to do, unless the database is at this release's schema."""
        found = self.schema()
        if found is None:
            raise SchemaError("the database has no tables yet: run `octy db upgrade`")
        if found < SCHEMA:
            raise SchemaError(f"the database is at schema {found}, this release needs {SCHEMA}: run `octy db upgrade`")
        if found > SCHEMA:
            raise SchemaError(
                f"the database is at schema {found}, newer than this release's {SCHEMA}: install the newer release"
            )

    def close(self) -> None:
        """Close this process's connections."""
        self.engine.dispose()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to, by device and inode."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_missing(path: Path) -> bool:
    """Tell whether just the file is missing; a folder that is away is an outage."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.parent.is_dir()
    except OSError:
        return False
    return False


def _open_sqlite(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open a file that exists. SQLite would make an empty one in its place, and then delete the log beside it."""
    name = quote(b"/" + os.fsencode(path).lstrip(b"/"))
    connection = sqlite3.connect(f"file:{name}?mode=rw", uri=True, check_same_thread=False)
    try:
        connection.isolation_level = None  # transactions are begun here, not guessed by the driver
        for pragma in (
            f"busy_timeout={int(busy_timeout * 1000)}",
            "journal_mode=WAL",
            "synchronous=FULL",  # a refusal that a client saw survives a power cut
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        connection.close()  # a file that can't be read would cost a descriptor a try
        raise
    return connection


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("octy_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _as_store_errors() -> Iterator[None]:
    """Turn what drivers raise when the store is away, locked or full into one error of ours."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError) or not _is_outage(error):
            raise
        raise StoreUnavailableError(f"the store did not answer: {type(error.orig).__name__}: {error.orig}") from error
    except PoolTimeoutError as error:
        raise StoreUnavailableError("every connection to the store is in use") from error
    except OSError as error:
        raise StoreUnavailableError(f"the store's lock file can't be used: {error}") from error


def _is_outage(error: DBAPIError) -> bool:
    """Tell an outage from a fault of ours: drivers raise OperationalError (or lose the connection) for outages."""
    return error.connection_invalidated or type(error.orig).__name__ in {
        "OperationalError",
        "InterfaceError",
        "InternalError",
        "AdminShutdown",
        "DiskFull",
        "DatabaseError",
    }
