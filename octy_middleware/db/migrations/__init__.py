"""Alembic migrations of the tables in `octy_middleware.db.models`.

Here: `upgrade`, `downgrade`, and the check of what is there. Not here: the scripts (`versions`), what differs
(`comparison`). Alembic comes with the worker's extra, so it is imported on use only.
"""

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

_SHOWN = 5  # differences in one line


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Bring the database to `revision`, in one transaction; return where it was, None if it had no tables.

    Whoever comes second while another process does it waits, and finds it done. Raises SchemaError, with what to do,
    when this release knows no way from where the database is, or when tables of these names are not Octy's.
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
            command.upgrade(config, revision)
            database.backend.add_lock_rows(connection)
            _note_compatibility(connection, config)
            return found
    except CommandError as error:
        if revision == "head" and _is_usable(database):
            return read_schema_version(database)  # a newer release has been here: nothing to do
        raise _unknown_revision(read_schema_version(database), revision, error) from error


def downgrade(database: Database, revision: str = "-1") -> str | None:
    """Take the database back to `revision`, by default the one before; return where it was. What is newer is lost.

    Raises SchemaError, with what to do, when this release knows no way there.
    """
    config = _config()
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        with database.write(mode=WriteMode.MIGRATION) as connection:
            found = _context(connection).get_current_revision()
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
            _note_compatibility(connection, config)
            return found
    except CommandError as error:
        raise _unknown_revision(read_schema_version(database), revision, error) from error


def _is_usable(database: Database) -> bool:
    try:
        check_schema(database)
    except SchemaError:
        return False
    return True


def _note_compatibility(connection: Connection, config: "Config") -> None:
    """Write beside the schema's version with which older releases' schema it is compatible.

    A migration says so by `compatible_back_to`; one that says nothing is compatible with no older release.
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
    statement = f"UPDATE {VERSION_TABLE} SET {COMPATIBLE_COLUMN} = :told"  # noqa: S608  # our own names
    connection.execute(text(statement), {"told": f"{current}:{back_to}"})


def check_tables(database: Database) -> None:
    """Raise SchemaError, with what to do, unless the tables are this release's: by name, and in all that they have."""
    check_schema(database)
    _config()
    from octy_middleware.db.migrations.comparison import differences  # noqa: PLC0415

    with database.read() as connection:
        found = differences(connection, extra=read_schema_version(database) == SCHEMA_VERSION)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise SchemaError(
            f"the database says that it is at schema {SCHEMA_VERSION}, but its tables are others: "
            f"{'; '.join(found[:_SHOWN])}{more} → undo what was changed by hand, or restore a backup"
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
