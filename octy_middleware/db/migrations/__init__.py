"""Alembic migrations of the tables in `octy_middleware.db.models`.

Alembic comes with the extra `worker`, so it is imported on use only.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from octy_middleware.db.backend import VERSION_TABLE, WriteMode
from octy_middleware.db.database import Database
from octy_middleware.db.foreign_tables import check_foreign_tables
from octy_middleware.db.schema_version import (
    COMPATIBLE_COLUMN,
    SCHEMA_VERSION,
    check_schema,
    newer_schema_text,
    read_schema_version,
)
from octy_middleware.errors import ConfigurationError, SchemaError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.migration import MigrationContext

_HEAD = "head"  # Alembic's name of the newest revision
_MAX_DIFFERENCES = 5  # in an error text


def upgrade(database: Database) -> str | None:
    """Migrate the database to this release, in one transaction; return its revision before, None if it had no tables.

    Of two processes that do this at the same time the second waits, and finds it done. Raises SchemaError, with what
    to do, when this release can't migrate from that revision, or when tables with these names are not Octy's.
    """
    config = _config()
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    database.backend.create()
    try:
        with database.write(mode=WriteMode.MIGRATION) as connection:
            database.backend.create_schema(connection)
            check_foreign_tables(connection, database.backend)
            found = _context(connection).get_current_revision()
            config.attributes["connection"] = connection
            command.upgrade(config, _HEAD)
            database.backend.add_lock_rows(connection)
            _record_compatibility(connection, config)
            return found
    except CommandError as error:
        with suppress(SchemaError):
            check_schema(database)
            return read_schema_version(database)  # migrated by a newer, compatible release: nothing to do
        raise _unknown_revision(read_schema_version(database), _HEAD, error) from error


def downgrade(database: Database, revision: str = "-1") -> str | None:
    """Migrate back to `revision`, by default the one before; return the revision it had. Newer columns are lost.

    Raises SchemaError, with what to do, when this release can't migrate there.
    """
    config = _config()
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        with database.write(mode=WriteMode.MIGRATION) as connection:
            found = _context(connection).get_current_revision()
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
            _record_compatibility(connection, config)
            return found
    except CommandError as error:
        raise _unknown_revision(read_schema_version(database), revision, error) from error


def _record_compatibility(connection: Connection, config: "Config") -> None:
    """Record in the version table the oldest schema whose releases can work with this one.

    A migration declares it by `compatible_back_to`; without that it is compatible with no older release.
    """
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    current = _context(connection).get_current_revision()
    if current is None:
        return
    columns = {column["name"] for column in inspect(connection).get_columns(VERSION_TABLE)}
    if COMPATIBLE_COLUMN not in columns:
        connection.exec_driver_sql(f"ALTER TABLE {VERSION_TABLE} ADD COLUMN {COMPATIBLE_COLUMN} VARCHAR(80)")
    script = ScriptDirectory.from_config(config).get_revision(current)
    back_to = getattr(script.module, COMPATIBLE_COLUMN, current)
    statement = f"UPDATE {VERSION_TABLE} SET {COMPATIBLE_COLUMN} = :value"  # noqa: S608  # our own names
    connection.execute(text(statement), {"value": f"{current}:{back_to}"})


def check_tables(database: Database) -> None:
    """Raise SchemaError, with what to do, unless all tables, columns, indexes and constraints are as in the models."""
    check_schema(database)
    _config()
    from octy_middleware.db.migrations.comparison import differences  # noqa: PLC0415

    with database.read() as connection:
        found = differences(connection, extra=read_schema_version(database) == SCHEMA_VERSION)
    if found:
        more = f"; and {len(found) - _MAX_DIFFERENCES} more" if len(found) > _MAX_DIFFERENCES else ""
        raise SchemaError(
            f"the database is at schema {SCHEMA_VERSION}, but its tables differ from it: "
            f"{'; '.join(found[:_MAX_DIFFERENCES])}{more} → undo what was changed by hand, or restore a backup"
        )


def _context(connection: Connection) -> "MigrationContext":
    from alembic.migration import MigrationContext  # noqa: PLC0415

    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})


def _config() -> "Config":
    try:
        from alembic.config import Config  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("alembic is missing: run this where `octy-middleware[worker]` is installed") from None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _unknown_revision(found: str | None, revision: str, error: Exception) -> SchemaError:
    if found is not None and found > SCHEMA_VERSION:
        return SchemaError(newer_schema_text(found))
    return SchemaError(
        f"the database is at schema {found or 'none'}, and this release can't migrate from there to {revision} "
        f"({error}): is it Octy's database?"
    )
