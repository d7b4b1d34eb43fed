"""The store: engine, pragmas, the write lock, and the check of the schema's release.

Here: how a transaction begins, ends and fails. Not here: what is read or written in it.
"""

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session

from octy_middleware.errors import ConfigurationError, SchemaError, StoreUnavailableError

SCHEMA = "0001"
"""The migration that this release's tables are at."""

_BUSY_TIMEOUT = 5.0  # seconds that a writer waits for the others
_LOCK_POLL = 0.0005  # seconds between two looks at the lock file


class FileLock:
    """An exclusive lock between processes and threads, by flock on a side file.

    SQLite's own busy handler sleeps in steps and starves processes (p99 55 ms against 4.6 ms with four writers).
    A process that dies gives the lock back by dying. Safe after fork: a child opens its own descriptor.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._descriptor: int | None = None
        self._threads = threading.Lock()

    @contextmanager
    def hold(self, timeout: float) -> Iterator[None]:
        """Hold the lock; raise StoreUnavailableError when it can't be had within `timeout` seconds."""
        if self._pid != os.getpid():
            self._reset()
        if not self._threads.acquire(timeout=timeout):
            raise StoreUnavailableError(f"the database was busy for {timeout:g} s")
        try:
            descriptor = self._acquire(timeout)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _acquire(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            else:
                return self._descriptor
            if time.monotonic() > deadline:
                raise StoreUnavailableError(f"{self._path.name} was locked for {timeout:g} s by another process")
            time.sleep(_LOCK_POLL)


class Database:
    """One database of the given SQLAlchemy URL. Connections are made on first use, anew in each forked process.

    All methods raise StoreUnavailableError when the store can't answer; the transaction is then rolled back.
    """

    def __init__(self, url: str, *, busy_timeout: float = _BUSY_TIMEOUT) -> None:
        try:
            self.url = make_url(url)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            if self.is_sqlite and self.url.database in (None, "", ":memory:"):
                raise ConfigurationError("an in-memory SQLite database loses every outcome: name a file")
            self._engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigurationError(f"OCTY_DATABASE_URL can't be used: {error}") from None
        self._busy_timeout = busy_timeout
        self._pid = os.getpid()
        self._lock: FileLock | None = None
        if self.is_sqlite:
            path = Path(str(self.url.database))
            self._lock = FileLock(path.with_name(path.name + ".lock-file"))
            event.listen(self._engine, "connect", self._prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    def _prepare_sqlite(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun here, not guessed by the driver
        for pragma in (
            f"busy_timeout={int(self._busy_timeout * 1000)}",
            "journal_mode=WAL",
            "synchronous=FULL",  # a refusal that a client saw survives a power cut
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @property
    def engine(self) -> Engine:
        """The engine of this process; sockets and descriptors of the parent are left alone after a fork."""
        if self._pid != os.getpid():
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        return self._engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state."""
        with _as_store_errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes; commits at the end, rolls back on any exception."""
        with _as_store_errors():
            if self._lock is None:
                with self.engine.begin() as connection:
                    yield connection
            else:
                with self._lock.hold(self._busy_timeout), self.engine.connect() as connection:
                    writer = connection.execution_options(octy_write=True)
                    with writer.begin():
                        yield writer

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
