"""The store: engine, pragmas, and the check of the schema's release.

Here: how a transaction begins, ends and fails. Not here: what is read or written in it.
"""

import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from octy_middleware.errors import ConfigurationError, SchemaError, StoreUnavailableError
from octy_middleware.forking import rest_while_forking
from octy_middleware.write_lock import FileLock

SCHEMA = "0001"
"""The migration that this release's tables are at."""

_BUSY_TIMEOUT = 5.0  # seconds that a writer waits for the others
_CHANGED = "octy_changed_keys"

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
        path = Path(str(self.url.database))
        self._lock = FileLock(path.with_name(path.name + ".lock-file"), like=path)
        self._file = _File(path)
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
        timeout = self._busy_timeout

        file = self._file

        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            _prepare_sqlite(connection, timeout)
            file.note()

        # Parameters hold digests, sealed secrets and reasons: no error text may show them.
        engine = create_engine(self.url, hide_parameters=True, pool_size=20, max_overflow=30, pool_timeout=timeout)
        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", _begin_sqlite)
        weakref.finalize(self, engine.dispose)  # whoever forgets `close` leaves no connection open all the same
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state."""
        with _as_store_errors():
            self._refuse_ghost()
            with self.engine.begin() as connection:
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes; commits at the end, rolls back on any exception."""
        changed: list[str] = []
        with _as_store_errors(), self._lock.hold(self._busy_timeout), self._connect() as connection:
            writer = connection.execution_options(octy_write=True)
            try:
                with writer.begin():
                    yield writer
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
        self._refuse_ghost()
        return self.engine.connect()

    def _refuse_ghost(self) -> None:
        """Raise StoreUnavailableError when the file was removed or replaced; the next use opens what is there then.

        Without this, connections go on writing into the unlinked file, where nobody will ever read it.
        """
        if self._file.is_another():
            self.engine.dispose()
            raise StoreUnavailableError(f"{self.url.database} was removed or replaced")

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
        """Return the migration that the database is at, or None when it is empty."""
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


class _File:
    """Which file the connections have open, by device and inode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def note(self) -> None:
        """Take the file that a new connection has opened for the right one."""
        self._known = self._look()

    def is_another(self) -> bool:
        """Tell, once, that the path leads to another file or to none."""
        if self._known is None or self._look() == self._known:
            return False
        self._known = None
        return True

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection, busy_timeout: float) -> None:
    connection.isolation_level = None  # transactions are begun here, not guessed by the driver
    for pragma in (
        f"busy_timeout={int(busy_timeout * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",  # a refusal that a client saw survives a power cut
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


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
