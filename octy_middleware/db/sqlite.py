"""The SQLite backend: one file, its write-ahead log, a lock file for writers and a wake-up file for listeners."""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from octy_middleware.db.backend import ALREADY_EXISTS_HINT, Backend, Listener, WriteMode
from octy_middleware.db.bulk_sql import Batch, InputRows, Queries, Row, fetch_many, sqlite_driver, to_json
from octy_middleware.db.file_lock import FileLock, mode_for_writers, restrict_to_writers
from octy_middleware.errors import ConfigurationError, DatabaseUnavailableError

_FILE = "octy_file"  # in a connection's `info`: device and inode of its file
_NOTIFY = "octy_notify"  # in a connection's `info`: `notify` was called in this transaction
_ERASED = "octy_erased"  # in a connection's `info`: `mark_erased` was called in this transaction
_CHECKPOINT_TIMEOUT = 100  # milliseconds that a checkpoint waits for readers, and writers for it
_POLL_INTERVAL = 0.02  # seconds between two checks of the wake-up file
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # a refused request that was answered survives a power cut
    "foreign_keys=ON",
    "secure_delete=ON",  # erased content is overwritten, in freed pages too
)


class SqliteBackend(Backend):
    """One SQLite file. See `Backend`."""

    closes_inherited = True

    def __init__(self, url: URL, busy_timeout: float) -> None:
        if url.drivername not in ("sqlite", "sqlite+pysqlite") or url.query or "\0" in str(url.database):
            raise ConfigurationError("database_url: give sqlite:///<file>, without another driver or options")
        if url.database in (None, "", ":memory:"):
            raise ConfigurationError("database_url: an in-memory SQLite database would lose all outcomes; name a file")
        self.url = url
        self._busy_timeout = busy_timeout
        self._has_erased = False  # the write-ahead log may still contain an erased secret
        self.path = Path(str(url.database)).absolute()  # the process may change its working directory later
        self.display_name = self._path_text = str(self.path)
        self.separation_hint = "give Octy a file of its own: OCTY_DATABASE_URL=sqlite:///octy.db"
        self._lock = FileLock(self._beside(".lock-file"), model=self.path)
        self._wake_up_file = self._beside(".wake-up")

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def make_engine(self) -> Engine:
        """See `Backend`. A connection records its file's inode; it is closed when the path leads to another file."""
        path, path_text, timeout = self.path, self._path_text, self._busy_timeout

        def connect(_dialect: object, record: ConnectionPoolEntry, *_: object) -> sqlite3.Connection:
            record.info[_FILE] = _identity(path_text)  # before it is opened: a change meanwhile shows at the checkout
            return _open(path, timeout)

        def check(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
            if record.info[_FILE] != _identity(path_text):
                raise DisconnectionError("the file was removed or replaced")

        # Parameters contain digests, sealed secrets and reasons: no error text may show them.
        engine = create_engine(self.url, hide_parameters=True, pool_size=20, max_overflow=30, pool_timeout=timeout)
        event.listen(engine, "do_connect", connect)
        event.listen(engine, "checkout", check)
        return engine

    def hold_write_lock(self, timeout: float) -> AbstractContextManager[None]:
        """See `Backend`."""
        return self._lock.hold(timeout)

    def begin(self, connection: Connection, mode: WriteMode | None, timeout: float) -> None:  # noqa: ARG002
        """See `Backend`."""
        sqlite_driver(connection).execute("BEGIN" if mode is None else "BEGIN IMMEDIATE").close()

    def begin_batch(
        self,
        connection: Connection,
        public_keys: Sequence[str] | None,  # noqa: ARG002  # there is only one writer anyway
        queries: Queries,
        timeout: float,  # noqa: ARG002
    ) -> list[list[Row]]:
        """See `Backend`."""
        sqlite_driver(connection).execute("BEGIN IMMEDIATE").close()
        return fetch_many(connection, *queries)

    def commit_batch(self, connection: Connection, writes: Sequence[tuple[Batch, InputRows]]) -> None:
        """See `Backend`. SQLite has no data-modifying CTE, and a statement of its own is no message here."""
        driver = sqlite_driver(connection)
        for batch, rows in writes:
            driver.execute(batch.for_json, (to_json(rows),))
        driver.execute("COMMIT").close()

    def is_current(self, connection: Connection) -> bool:
        """See `Backend`. The file may have been removed or replaced."""
        return not connection.invalidated and bool(connection.info[_FILE] == _identity(self._path_text))

    def notify(self, connection: Connection) -> None:
        """See `Backend`."""
        connection.info[_NOTIFY] = True

    def mark_erased(self, connection: Connection) -> None:
        """See `Backend`."""
        connection.info[_ERASED] = True

    def check_committed(self, connection: Connection) -> None:
        """See `Backend`. SQLite continues to work on an unlinked file."""
        if connection.info[_FILE] != _identity(self._path_text):
            raise DatabaseUnavailableError(f"{self.path} was removed or replaced")

    def after_commit(self, connection: Connection) -> None:
        """See `Backend`. The write-ahead log still contains the pages from before a secret was erased."""
        self._has_erased = connection.info.pop(_ERASED, False) or self._has_erased
        if self._has_erased:
            self._truncate_log(sqlite_driver(connection))
        self._touch_wake_up_file(connection)

    def _truncate_log(self, driver: sqlite3.Connection) -> None:
        """Copy the log into the file and truncate it; if a reader prevents that, again after the next commit."""
        with suppress(sqlite3.Error):
            driver.execute(f"PRAGMA busy_timeout={_CHECKPOINT_TIMEOUT}").close()
            try:
                busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._has_erased = bool(busy)
            finally:
                driver.execute(f"PRAGMA busy_timeout={int(self._busy_timeout * 1000)}").close()

    def _touch_wake_up_file(self, connection: Connection) -> None:
        """Wake listeners. An error is ignored: relays poll as well."""
        if connection.info.pop(_NOTIFY, False):
            with suppress(OSError):
                if not self._wake_up_file.exists():
                    descriptor = os.open(self._wake_up_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                    restrict_to_writers(descriptor, self.path)
                    os.close(descriptor)
                os.utime(self._wake_up_file, ns=(time.time_ns(),) * 2)

    def listen(self) -> Listener:
        """See `Backend`."""
        return _WakeUpFileListener(self._wake_up_file)

    def is_missing(self) -> bool:
        """See `Backend`. A missing folder is an outage."""
        try:
            self.path.stat()
        except OSError as error:
            return isinstance(error, FileNotFoundError) and self.path.parent.is_dir()
        return False

    def create(self) -> None:
        """Create the empty file if there is none. Nothing else does: a missing file may come back, with its log.

        It and the files beside it get no rights for readers, whatever the umask: who can read them can lock them.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            for path in (self.path, *map(self._beside, ("-wal", "-shm", ".wake-up"))):
                with suppress(FileNotFoundError, PermissionError):  # does not exist yet, or is another user's
                    path.chmod(mode_for_writers(path.stat().st_mode))
        except OSError as error:
            hint = "create its folder first" if isinstance(error, FileNotFoundError) else "run this as the app's user"
            raise DatabaseUnavailableError(f"{self.path} can't be created ({error.strerror}): {hint}") from error

    def setup_hint(self, error: BaseException | None) -> str:
        """See `Backend`."""
        if not isinstance(error, sqlite3.OperationalError):
            return ""
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            return "run this as the user who may write the file and its folder"
        message = str(error)
        if message.startswith(("no such table", "no such column")) or "has no column named" in message:
            return "run `octy db upgrade`, or check that the path leads to Octy's database"
        return ALREADY_EXISTS_HINT if message.endswith("already exists") else ""

    def is_outage(self, error: BaseException | None) -> bool:
        """See `Backend`. A file that is no database, or is damaged, raises the base class DatabaseError itself."""
        return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError

    def integrity_problem(self, connection: Connection) -> str:
        """See `Backend`."""
        result = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
        return "" if result == "ok" else result

    def location(self, connection: Connection) -> dict[str, object]:  # noqa: ARG002  # stat is enough
        """See `Backend`. A copy of a file has another inode."""
        identity = _identity(self._path_text)
        if identity is None:
            raise DatabaseUnavailableError(f"{self.path} was removed or replaced")
        device, inode = identity
        return {"kind": "sqlite", "device": device, "inode": inode, "path": self._path_text}

    def restart(self) -> None:
        """See `Backend`. flock belongs to a descriptor: a child must open its own."""
        self._lock.restart()

    def before_fork(self) -> None:
        """See `Backend`."""
        self._lock.before_fork()

    def after_fork(self) -> None:
        """See `Backend`."""
        self._lock.after_fork()


class _WakeUpFileListener:
    """Polls the modification time of the wake-up file, which costs microseconds and works on every system."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_seen = self._modified_at()

    def wait(self, timeout: float) -> bool:
        """See `Listener`."""
        deadline = time.monotonic() + timeout
        while True:
            modified_at = self._modified_at()
            if modified_at != self._last_seen:
                self._last_seen = modified_at
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL_INTERVAL, left))

    def close(self) -> None:
        """See `Listener`."""

    def _modified_at(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of the file at a path, or None. Called twice in each transaction."""
    try:
        found = os.stat(path)  # noqa: PTH116  # Path.stat takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open an existing file. By default SQLite would create an empty one, and then delete the log beside it."""
    name = quote(b"/" + os.fsencode(path).lstrip(b"/"))
    connection = sqlite3.connect(f"file:{name}?mode=rw", uri=True, check_same_thread=False)
    try:
        connection.isolation_level = None  # transactions are begun by us, not implicitly by the driver
        for pragma in (f"busy_timeout={int(busy_timeout * 1000)}", *_PRAGMAS):
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        connection.close()  # else each try to open an unreadable file would leak a descriptor
        raise
    return connection
