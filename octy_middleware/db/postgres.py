"""PostgreSQL as the store, by psycopg 3: for more than one machine.

Here: sessions, who writes beside whom, and what an outage looks like. Not here: URLs (`postgres_url`), notifications
(`postgres_alarm`), transactions as others use them (`database`).

Who writes beside whom is settled by locks on the table `write_lock`, always taken in this order: the office's row, the
table itself (recorders share it, others have it alone), rows that stand for keys in sorted order, the feed's row. So no
two transactions wait for each other. Each of these locks needs the right to write that table. Advisory locks need no
right: any role that may connect could take them and stop all recording.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from octy_middleware.db.backend import (
    ALREADY_EXISTS_HINT,
    SCHEMA_OPTION,
    VERSION_TABLE,
    Listener,
    WriteMode,
    has_class_name,
)
from octy_middleware.db.postgres_listener import CHANNEL, PostgresListener
from octy_middleware.db.postgres_url import (
    driver_defaults,
    driver_options,
    schema_of,
    with_password_in_its_place,
    without_schema,
)
from octy_middleware.errors import (
    ConfigurationError,
    DatabaseSetupError,
    InvalidInputError,
    StandbyError,
)

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

_EXCLUSIVE_ROW, _FEED_ROW = 0, 1  # rows of `write_lock`
_FIRST_KEY_ROW = 64  # the first row that stands for keys
_KEY_ROWS = 16_384  # rows that stand for keys: two batches of 13 keys meet in one of a hundred pairs
_POOLED = "octy_pooled"
_GENERATION = "octy_generation"  # in a connection's `info`: how often connections had been renounced before it


def _lock_row(slot: int) -> str:
    return f"SELECT slot FROM write_lock WHERE slot = {slot} FOR UPDATE"  # noqa: S608  # our own number


# Row locks take ROW SHARE on the table, which is compatible with both of its modes here.
_SHARED = "LOCK TABLE write_lock IN ROW EXCLUSIVE MODE"
_EXCLUSIVE = "LOCK TABLE write_lock IN SHARE ROW EXCLUSIVE MODE"
# A table `write_lock` without our version table beside it is somebody else's.
_HAS_LOCKS = f"SELECT num_nulls(to_regclass('write_lock'), to_regclass('{VERSION_TABLE}')) = 0"
_LOCKS = {
    WriteMode.EXCLUSIVE: (_lock_row(_EXCLUSIVE_ROW), _EXCLUSIVE),
    WriteMode.IMPORT: (),
    WriteMode.RECORDER: (_SHARED,),
    WriteMode.BULK_RECORDER: (_EXCLUSIVE,),
    # Where there is no such table yet. Whoever takes this lock stops migrations and nothing else.
    WriteMode.MIGRATION: ("SELECT pg_advisory_xact_lock(3191, 1)", _HAS_LOCKS),
}
# Seconds that a transaction may do nothing: who was stopped in the middle of one loses it, and its locks. A recorder's
# limit is below the time that others wait for it; who works for the office computes between statements.
_IDLE = {
    WriteMode.EXCLUSIVE: 5,
    WriteMode.IMPORT: 5,
    WriteMode.RECORDER: 2,
    WriteMode.BULK_RECORDER: 2,
    WriteMode.MIGRATION: 60,
    None: 60,
}
_LOCK_KEYS = "SELECT slot FROM write_lock WHERE slot = ANY(%s) ORDER BY slot FOR UPDATE"
_ADD_ROWS = f"INSERT INTO write_lock SELECT generate_series(0, {_FIRST_KEY_ROW + _KEY_ROWS - 1}) ON CONFLICT DO NOTHING"
_LOCK_ROWS_MISSING = "the table write_lock lacks rows, so writers can't take turns → run `octy db upgrade`"
_OUTAGES = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "InternalError_",
        "IdleInTransactionSessionTimeout",  # this process did not run in the middle of a transaction
        "DataCorrupted",
        "IndexCorrupted",
    }
)
_DATABASE_OID = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
_MAY_READ_SYSTEM = "SELECT has_function_privilege('pg_control_system()', 'execute')"
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
_UPGRADE = "run `octy db upgrade`, or see that the URL leads to Octy's database and schema"
_HINTS = {  # by the driver's error: the database answers, and refuses
    "UndefinedTable": _UPGRADE,
    "UndefinedColumn": _UPGRADE,
    "InvalidSchemaName": "create the schema that `search_path` names, or set another one",
    "InsufficientPrivilege": "GRANT this role what it lacks, or use the role that owns the tables; "
    "`octy db upgrade` needs the owner, and CREATE on the schema",
    "DuplicateTable": ALREADY_EXISTS_HINT,
    "DuplicateObject": ALREADY_EXISTS_HINT,
}
_SESSION = "SELECT pg_backend_pid(), current_setting('synchronous_commit'), current_setting('search_path')"
_ENCODINGS = ("UTF8", "SQL_ASCII")  # that keep any text; the latter keeps bytes as they are
_MAKE_DURABLE = "SELECT set_config('synchronous_commit', 'on', false)"
_KEEP_DURABLE = (  # of a transaction; a SELECT that finds no row would say that rows of `write_lock` are missing
    "SELECT set_config('synchronous_commit', "
    "COALESCE(NULLIF(current_setting('synchronous_commit'), 'off'), 'on'), true)"
)
_ADD_SCHEMA = "add ?schema=octy_data to OCTY_DATABASE_URL (&schema=octy_data behind other options)"
_HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)"
_WITHOUT_USAGE = """
SELECT string_agg(nspname, ', ') FROM pg_namespace WHERE NOT has_schema_privilege(oid, 'USAGE') AND nspname IN (
  SELECT btrim(btrim(name), '"') FROM unnest(string_to_array(current_setting('search_path'), ',')) AS name
)
"""
_WHERE = ("host", "port", "service", SCHEMA_OPTION)  # of the options, what an error may show
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"  # statements see what was committed before they had their locks
_READ = (
    f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE[None]}s'; SELECT pg_is_in_recovery()"
).encode()


class PostgresBackend:
    """One database of a PostgreSQL server. See `Backend`."""

    closes_inherited = False  # a child's good-bye would end the parent's session

    def __init__(self, url: URL, busy_timeout: float) -> None:
        if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ConfigurationError("database_url: PostgreSQL is reached by psycopg 3: give postgresql://…")
        if "@" in (url.host or ""):
            raise ConfigurationError("database_url: in a password write @ as %40")  # the host is half of it
        if not url.database:
            raise ConfigurationError("database_url: name the database: postgresql://<user>@<host>/<database>")
        try:
            from psycopg import ProgrammingError  # noqa: PLC0415
            from psycopg.conninfo import make_conninfo  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                f"database_url: PostgreSQL needs psycopg 3: pip install 'octy-middleware[postgres]' ({error})"
            ) from None
        self.url = with_password_in_its_place(url)
        self.schema = schema_of(url)
        try:
            make_conninfo(**driver_options(self.url))
        except ProgrammingError as error:
            raise ConfigurationError(f"database_url: {str(error).strip()}") from None
        self._busy_timeout = busy_timeout
        self._generation = 0
        message = {name: value for name, value in url.query.items() if name in _WHERE}
        self.separation_hint = f"give Octy a schema of its own: {_ADD_SCHEMA}"
        if self.schema:
            self.separation_hint = f"give Octy another schema than {self.schema}, or a database of its own"
        self.display_name = url.set(drivername="postgresql", password=None, query=message).render_as_string()

    def make_engine(self) -> Engine:
        """See `Backend`."""
        engine = create_engine(
            without_schema(self.url).set(drivername="postgresql+psycopg"),
            hide_parameters=True,  # they hold digests, sealed secrets and reasons
            pool_size=5,
            max_overflow=15,
            pool_timeout=self._busy_timeout,
            connect_args={**driver_defaults(self.url), "autocommit": True},  # transactions are begun here
        )
        event.listen(engine, "do_connect", self._note_generation)
        event.listen(engine, "checkout", self._check_generation)
        event.listen(engine, "connect", self._set_up_session, insert=True)  # before SQLAlchemy looks around
        event.listen(engine, "handle_error", _redact_values)
        return engine

    def _set_up_session(self, driver: "psycopg.Connection[Any]", record: "ConnectionPoolEntry") -> None:
        """Overrule a server that calls a commit done before it is on disk, and find no tables but ours.

        Raises ConfigurationError where the database can't be used as it is.
        """
        with _closed_on_error(driver):
            self._set_up(driver, record)

    def _set_up(self, driver: "psycopg.Connection[Any]", record: "ConnectionPoolEntry") -> None:
        pid, durability, path = driver.execute(_SESSION, prepare=False).fetchone() or (0, "", "")
        pooled = record.info[_POOLED] = pid != driver.info.backend_pid
        problem = self._setup_problem(driver, path if pooled else self.schema)
        if pooled and not problem:
            problem = _pooling_problem(driver)
        if problem:
            raise ConfigurationError(f"database_url: {problem}")
        if pooled:
            driver.prepare_threshold = None
            return
        if durability == "off":
            driver.execute(_MAKE_DURABLE).close()
        if self.schema:
            driver.execute("SELECT set_config('search_path', %s, false)", (self.schema,)).close()

    def _setup_problem(self, driver: "psycopg.Connection[Any]", path: str) -> str:
        """Return what is wrong with the database or with the session's `search_path`, and what to do; or nothing."""
        encoding = driver.info.parameter_status("server_encoding")
        if encoding not in _ENCODINGS:
            return (
                f"the database's encoding is {encoding}, which lacks most characters → "
                f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and restore a dump into it"
            )
        if self.schema and path != self.schema:
            return (
                f"behind a connection pooler the session is shared: its search_path is {path!r} and can't be set → "
                f"ALTER ROLE … SET search_path = {self.schema}, for a role that Octy alone uses"
            )
        return ""

    @contextmanager
    def hold_write_lock(self, timeout: float) -> Iterator[None]:  # noqa: ARG002
        """See `Backend`. The server hands out turns, at the beginning of each transaction."""
        yield

    def begin(self, connection: Connection, mode: WriteMode | None, timeout: float) -> None:
        """See `Backend`. One message to the server, which also finds out whether the connection still lives."""
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        if mode is None:
            answer = driver.execute(_READ, prepare=False)
            while answer.nextset():
                pass
            if answer.fetchone() != (False,):
                raise StandbyError(f"{self.display_name} is a standby: only the primary is used")
            return
        statements = (
            _WRITE,
            f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE[mode]}s'",
            f"SET LOCAL lock_timeout = {max(1, int(timeout * 1000))}",
            *((_KEEP_DURABLE,) if connection.info[_POOLED] else ()),
            *_LOCKS[mode],
        )
        found = _found(driver.execute("; ".join(statements).encode(), prepare=False))
        if mode is WriteMode.MIGRATION and found[-1] == [(True,)]:
            driver.execute("; ".join(_LOCKS[WriteMode.EXCLUSIVE]).encode(), prepare=False)
        elif not all(found):
            raise DatabaseSetupError(_LOCK_ROWS_MISSING)

    def is_current(self, connection: Connection) -> bool:
        """See `Backend`. Whether it still lives, the next message to the server tells."""
        return not connection.invalidated and bool(connection.info[_GENERATION] == self._generation)

    def is_standby(self, error: BaseException | None) -> bool:
        """See `Backend`. SQLSTATE 25006, whatever was asked."""
        return has_class_name(error, {"ReadOnlySqlTransaction"})

    def discard_connections(self) -> None:
        """See `Backend`."""
        self._generation += 1

    def _note_generation(self, _dialect: object, record: "ConnectionPoolEntry", *_: object) -> None:
        record.info[_GENERATION] = self._generation  # before it is made: what is renounced meanwhile is given up

    def _check_generation(self, _driver: object, record: "ConnectionPoolEntry", _proxy: object) -> None:
        if record.info[_GENERATION] != self._generation:
            raise DisconnectionError("the server takes no writes any more")

    def lock_keys(self, connection: Connection, public_keys: Sequence[str]) -> None:
        """See `Backend`."""
        slots = sorted({_FIRST_KEY_ROW + crc32(key.encode()) % _KEY_ROWS for key in public_keys})
        if len(connection.exec_driver_sql(_LOCK_KEYS, (slots,)).all()) != len(slots):
            raise DatabaseSetupError(_LOCK_ROWS_MISSING)

    def lock_feed(self, connection: Connection) -> None:
        """See `Backend`. Else a number given out early and committed late would never be read."""
        if connection.exec_driver_sql(_lock_row(_FEED_ROW)).first() is None:
            raise DatabaseSetupError(_LOCK_ROWS_MISSING)

    def add_lock_rows(self, connection: Connection) -> None:
        """See `Backend`."""
        if connection.exec_driver_sql(_ADD_ROWS).rowcount:
            self.refresh_statistics(connection, "write_lock")

    def notify(self, connection: Connection) -> None:
        """See `Backend`. The server keeps notifications until the commit."""
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")

    def mark_erased(self, connection: Connection) -> None:
        """See `Backend`. Old rows go with the server's next VACUUM, its log with its next checkpoints."""

    def check_committed(self, connection: Connection) -> None:
        """See `Backend`. The server has said so."""

    def after_commit(self, connection: Connection) -> None:
        """See `Backend`. The server has done so."""

    def listen(self) -> Listener:
        """See `Backend`."""
        return PostgresListener(self.url)

    def is_missing(self) -> bool:
        """See `Backend`. A database is made by the server's owner."""
        return False

    def create(self) -> None:
        """See `Backend`. A database is made by the server's owner."""

    def create_schema(self, connection: Connection) -> None:
        """See `Backend`. One that is there may be used without the right to make one."""
        if not self.schema or connection.exec_driver_sql(_HAS_SCHEMA, (self.schema,)).scalar_one():
            return
        if connection.exec_driver_sql("SELECT current_user").scalar_one() == self.schema:
            raise ConfigurationError(
                f"database_url: schema={self.schema} is the role's own name: by PostgreSQL's default `search_path` a "
                f"host app with this role would find Octy's tables first → give another name, such as octy_data"
            )
        connection.exec_driver_sql(f"CREATE SCHEMA {self.schema}")

    def schemas_without_usage(self, connection: Connection) -> str:
        """See `Backend`. PostgreSQL passes over them in silence."""
        return str(connection.exec_driver_sql(_WITHOUT_USAGE).scalar_one() or "")

    def setup_hint(self, error: BaseException | None) -> str:
        """See `Backend`."""
        return next((hint for name, hint in _HINTS.items() if has_class_name(error, {name})), "")

    def is_outage(self, error: BaseException | None) -> bool:
        """See `Backend`. Among operational errors are lost connections, locks not had in time, and full disks."""
        return has_class_name(error, _OUTAGES)

    def redact_values(self, error: BaseException) -> None:
        """See `Backend`."""
        _redact(error)

    def refresh_statistics(self, connection: Connection, *tables: str) -> None:
        """See `Backend`. The server does so by itself, some time later; until then it plans for empty tables."""
        for table in tables:
            connection.exec_driver_sql(f"ANALYZE {table}")

    def integrity_problem(self, connection: Connection) -> str:
        """See `Backend`. What can't be read raises; the rest is the server's own business."""
        connection.exec_driver_sql("SELECT COUNT(*) FROM key_pair")
        return ""

    def location(self, connection: Connection) -> dict[str, object]:
        """See `Backend`. A restored dump has another oid or server; only a copy of the server's files has neither."""
        database = connection.exec_driver_sql(_DATABASE_OID).scalar_one()
        may_read = connection.exec_driver_sql(_MAY_READ_SYSTEM).scalar_one()
        system = connection.exec_driver_sql(_SYSTEM).scalar_one() if may_read else None
        return {"kind": "postgresql", "database": int(database), "system": system}

    def restart(self) -> None:
        """See `Backend`."""

    def before_fork(self) -> None:
        """See `Backend`."""

    def after_fork(self) -> None:
        """See `Backend`."""


@contextmanager
def _closed_on_error(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """Close a connection that is not in the pool yet when its set-up fails: nobody else would."""
    try:
        yield
    except BaseException:
        driver.close()
        raise


def _pooling_problem(driver: "psycopg.Connection[Any]") -> str:
    """Return what is wrong with the pooler in between, and what to do; or nothing."""
    from psycopg.errors import ProtocolViolation  # noqa: PLC0415

    try:
        driver.execute("BEGIN", prepare=False).close()
        driver.execute("ROLLBACK", prepare=False).close()
    except ProtocolViolation as error:
        return f"the connection pooler allows no transactions ({error}) → set its pool_mode to transaction or session"
    return ""


def _found(cursor: "psycopg.Cursor[Any]") -> list[list[tuple[Any, ...]]]:
    """Return what each statement of a message found, of those that return rows."""
    found = []
    while True:
        if cursor.description is not None:
            found.append(cursor.fetchall())
        if not cursor.nextset():
            return found


def _redact_values(context: "ExceptionContext") -> None:
    """Keep stored values out of error texts: they end up in logs, and in Temporal's histories.

    The server's details show whole rows. A NUL, which only its owner can have typed, is told as what it is.
    """
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    if has_class_name(error, {"DataError"}) and "NUL" in str(error):
        raise InvalidInputError("a text holds a NUL character, which can't be kept") from None
    _redact(error)
    if error.args and wrapped is not None and getattr(error, "diag", None) is not None:
        wrapped.args = (f"({type(error).__name__}) {error.args[0]}",)


def _redact(error: BaseException) -> None:
    """Leave of a driver's error its primary message."""
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    if message is not None:
        error.args = (message,)
