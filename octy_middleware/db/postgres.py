"""The PostgreSQL backend, by psycopg 3: for hosts on more than one machine.

The locks of writers are in `postgres_locks`, a recorder's transaction in `postgres_batches`, what errors mean in
`postgres_errors`.
"""

from typing import Any, cast

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import ProtocolViolation
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from octy_middleware.db import postgres_batches, postgres_errors
from octy_middleware.db.backend import SCHEMA_OPTION, Backend, Listener, WriteMode
from octy_middleware.db.postgres_listener import CHANNEL, PostgresListener
from octy_middleware.db.postgres_locks import (
    ADD_ROWS,
    FEED_ROW,
    IDLE,
    KEEP_DURABLE,
    LOCK_ROWS_MISSING,
    LOCKS,
    READ,
    WRITE,
    lock_row,
    lock_timeout,
)
from octy_middleware.db.postgres_pipeline import POOLED
from octy_middleware.db.postgres_url import (
    driver_defaults,
    driver_options,
    schema_of,
    with_hidden_password,
    without_schema,
)
from octy_middleware.errors import ConfigurationError, DatabaseSetupError, StandbyError

_GENERATION = "octy_generation"  # in a connection's `info`: the generation that it was made in
_DATABASE_OID = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
_MAY_READ_SYSTEM = "SELECT has_function_privilege('pg_control_system()', 'execute')"
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
_SESSION = "SELECT pg_backend_pid(), current_setting('synchronous_commit'), current_setting('search_path')"
_ENCODINGS = ("UTF8", "SQL_ASCII")  # can store any text; the latter stores bytes unchanged
_MAKE_DURABLE = "SELECT set_config('synchronous_commit', 'on', false)"
_ADD_SCHEMA = "add ?schema=octy_data to OCTY_DATABASE_URL (&schema=octy_data behind other options)"
_HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)"
_WITHOUT_USAGE = """
SELECT string_agg(nspname, ', ') FROM pg_namespace WHERE NOT has_schema_privilege(oid, 'USAGE') AND nspname IN (
  SELECT btrim(btrim(name), '"') FROM unnest(string_to_array(current_setting('search_path'), ',')) AS name
)
"""
_SHOWN_OPTIONS = ("host", "port", "service", SCHEMA_OPTION)  # options that an error may show


class PostgresBackend(Backend):
    """One database of a PostgreSQL server. See `Backend`."""

    closes_inherited = False  # closing it in a child would end the parent's session
    begin_batch = staticmethod(postgres_batches.begin_batch)
    commit_batch = staticmethod(postgres_batches.commit_batch)
    is_standby = staticmethod(postgres_errors.is_standby)
    is_outage = staticmethod(postgres_errors.is_outage)
    setup_hint = staticmethod(postgres_errors.setup_hint)
    redact_values = staticmethod(postgres_errors.redact)

    def __init__(self, url: URL, busy_timeout: float) -> None:
        if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ConfigurationError("database_url: the only driver is psycopg 3: give postgresql://…")
        if "@" in (url.host or ""):
            # A part of the password was parsed as the host.
            raise ConfigurationError("database_url: in a password write @ as %40")
        if not url.database:
            raise ConfigurationError("database_url: name the database: postgresql://<user>@<host>/<database>")
        self.url = with_hidden_password(url)
        self.schema = schema_of(url)
        try:
            make_conninfo(**driver_options(self.url))
        except psycopg.ProgrammingError as error:
            raise ConfigurationError(f"database_url: {str(error).strip()}") from None
        self._busy_timeout = busy_timeout
        self._generation = 0
        shown = {name: value for name, value in url.query.items() if name in _SHOWN_OPTIONS}
        self.separation_hint = f"give Octy a schema of its own: {_ADD_SCHEMA}"
        if self.schema:
            self.separation_hint = f"give Octy another schema than {self.schema}, or a database of its own"
        self.display_name = url.set(drivername="postgresql", password=None, query=shown).render_as_string()

    def make_engine(self) -> Engine:
        """See `Backend`."""
        engine = create_engine(
            without_schema(self.url).set(drivername="postgresql+psycopg"),
            hide_parameters=True,  # they contain digests, sealed secrets and reasons
            pool_size=5,
            max_overflow=15,
            pool_timeout=self._busy_timeout,
            connect_args={**driver_defaults(self.url), "autocommit": True},  # transactions are begun by `begin`
        )
        event.listen(engine, "do_connect", self._note_generation)
        event.listen(engine, "checkout", self._check_generation)
        event.listen(engine, "connect", self._set_up_session, insert=True)  # before SQLAlchemy's own queries
        event.listen(engine, "handle_error", postgres_errors.redact_values)
        return engine

    def _set_up_session(self, driver: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
        """Make commits durable, whatever the server's default, and set the `search_path`.

        Raises ConfigurationError, with what to do, for a database that can't be used as it is.
        """
        try:
            self._set_up(driver, record)
        except BaseException:
            driver.close()  # the pool does not know it yet
            raise

    def _set_up(self, driver: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
        pid, durability, path = driver.execute(_SESSION, prepare=False).fetchone() or (0, "", "")
        pooled = record.info[POOLED] = pid != driver.info.backend_pid
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

    def _setup_problem(self, driver: psycopg.Connection[Any], path: str) -> str:
        """Return what is wrong with the database or the session's `search_path`, and what to do; or an empty text."""
        encoding = driver.info.parameter_status("server_encoding")
        if encoding not in _ENCODINGS:
            return (
                f"the database's encoding is {encoding}, which can't store all characters → "
                f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and restore a dump into it"
            )
        if self.schema and path != self.schema:
            return (
                f"behind a connection pooler sessions are shared: the search_path is {path!r} and can't be set → "
                f"ALTER ROLE … SET search_path = {self.schema}, for a role that Octy alone uses"
            )
        return ""

    def begin(self, connection: Connection, mode: WriteMode | None, timeout: float) -> None:
        """See `Backend`. One message to the server, which also shows whether the connection is still open."""
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        if mode is None:
            cursor = driver.execute(READ, prepare=False)
            while cursor.nextset():
                pass
            if cursor.fetchone() != (False,):
                raise StandbyError(f"{self.display_name} is a standby: only the primary is used")
            return
        statements = (
            WRITE,
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE[mode]}s'",
            f"SET LOCAL lock_timeout = {lock_timeout(timeout)}",
            *((KEEP_DURABLE,) if connection.info[POOLED] else ()),
            *LOCKS[mode],
        )
        results = _fetch_all(driver.execute("; ".join(statements).encode(), prepare=False))
        if mode is WriteMode.MIGRATION and results[-1] == [(True,)]:
            driver.execute("; ".join(LOCKS[WriteMode.EXCLUSIVE]).encode(), prepare=False)
        elif not all(results):
            raise DatabaseSetupError(LOCK_ROWS_MISSING)

    def is_current(self, connection: Connection) -> bool:
        """See `Backend`. Whether it is still open, the next message to the server shows."""
        return not connection.invalidated and bool(connection.info[_GENERATION] == self._generation)

    def discard_connections(self) -> None:
        """See `Backend`."""
        self._generation += 1

    def _note_generation(self, _dialect: object, record: ConnectionPoolEntry, *_: object) -> None:
        record.info[_GENERATION] = self._generation  # before it is made: `discard_connections` may be called meanwhile

    def _check_generation(self, _driver: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info[_GENERATION] != self._generation:
            raise DisconnectionError("made before the last switch to a standby")

    def lock_feed(self, connection: Connection) -> None:
        """See `Backend`. Else readers would skip a row with an early number and a late commit."""
        if connection.exec_driver_sql(lock_row(FEED_ROW)).first() is None:
            raise DatabaseSetupError(LOCK_ROWS_MISSING)

    def add_lock_rows(self, connection: Connection) -> None:
        """See `Backend`."""
        if connection.exec_driver_sql(ADD_ROWS).rowcount:
            self.refresh_statistics(connection, "write_lock")

    def notify(self, connection: Connection) -> None:
        """See `Backend`. The server delivers the notification after the commit."""
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")

    def listen(self) -> Listener:
        """See `Backend`."""
        return PostgresListener(self.url)

    def create_schema(self, connection: Connection) -> None:
        """See `Backend`. An existing one is used without the right to create one."""
        if not self.schema or connection.exec_driver_sql(_HAS_SCHEMA, (self.schema,)).scalar_one():
            return
        if connection.exec_driver_sql("SELECT current_user").scalar_one() == self.schema:
            raise ConfigurationError(
                f"database_url: schema={self.schema} is the role's own name: by PostgreSQL's default `search_path` a "
                f"host app with this role would find Octy's tables first → give another name, such as octy_data"
            )
        connection.exec_driver_sql(f"CREATE SCHEMA {self.schema}")

    def schemas_without_usage(self, connection: Connection) -> str:
        """See `Backend`. PostgreSQL skips them without an error."""
        return str(connection.exec_driver_sql(_WITHOUT_USAGE).scalar_one() or "")

    def refresh_statistics(self, connection: Connection, *tables: str) -> None:
        """See `Backend`. Until autovacuum does it, the planner takes new tables for empty ones."""
        for table in tables:
            connection.exec_driver_sql(f"ANALYZE {table}")

    def integrity_problem(self, connection: Connection) -> str:
        """See `Backend`. An unreadable table raises; a deeper check is left to the server's own tools."""
        connection.exec_driver_sql("SELECT COUNT(*) FROM key_pair")
        return ""

    def location(self, connection: Connection) -> dict[str, object]:
        """See `Backend`. A restored dump has another oid or server; only a copy of the server's files has the same."""
        database = connection.exec_driver_sql(_DATABASE_OID).scalar_one()
        may_read = connection.exec_driver_sql(_MAY_READ_SYSTEM).scalar_one()
        system = connection.exec_driver_sql(_SYSTEM).scalar_one() if may_read else None
        return {"kind": "postgresql", "database": int(database), "system": system}


def _pooling_problem(driver: psycopg.Connection[Any]) -> str:
    """Return what is wrong with the connection pooler, and what to do; or an empty text."""
    try:
        driver.execute("BEGIN", prepare=False).close()
        driver.execute("ROLLBACK", prepare=False).close()
    except ProtocolViolation as error:
        return f"the connection pooler allows no transactions ({error}) → set its pool_mode to transaction or session"
    return ""


def _fetch_all(cursor: psycopg.Cursor[Any]) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each statement of a message that returns rows."""
    results = []
    while True:
        if cursor.description is not None:
            results.append(cursor.fetchall())
        if not cursor.nextset():
            return results
