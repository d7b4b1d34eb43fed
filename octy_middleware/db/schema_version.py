"""Whether this release can work with the version of the schema that the database has."""

from sqlalchemy import inspect

from octy_middleware.db.backend import VERSION_TABLE
from octy_middleware.db.database import Database
from octy_middleware.db.foreign_tables import check_foreign_tables
from octy_middleware.errors import DatabaseUnavailableError, SchemaError

SCHEMA_VERSION = "0001"
"""The migration that this release's tables are at."""

COMPATIBLE_COLUMN = "compatible_back_to"
"""A column of the version table: `<version>:<oldest>`, the oldest schema whose release can work with this version."""

_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # our own name
_COMPATIBLE = f"SELECT version_num, {COMPATIBLE_COLUMN} FROM {VERSION_TABLE}"  # noqa: S608


def read_schema_version(database: Database) -> str | None:
    """Return the migration that the database is at, or None when it is empty or does not exist yet."""
    if database.backend.is_missing():
        return None
    with database.read() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        row = connection.exec_driver_sql(_VERSION).first()
        return None if row is None else str(row[0])


def check_schema(database: Database) -> None:
    """Raise SchemaError, with what to do, unless this release can work with the database's schema.

    A newer schema says with which older releases it is compatible: their apps may run, and restart, beside newer ones.
    """
    found = read_schema_version(database)
    if found is None:
        _check_why_no_tables(database)
        raise SchemaError("the database has no tables yet: run `octy db upgrade`")
    if found < SCHEMA_VERSION:
        raise SchemaError(
            f"the database is at schema {found}, this release needs {SCHEMA_VERSION}: run `octy db upgrade`"
        )
    if found > SCHEMA_VERSION and not _is_compatible(database):
        raise SchemaError(newer_schema_text(found))


def newer_schema_text(found: str) -> str:
    """Return what is wrong with a schema newer than this release's, and what to do."""
    return (
        f"the database is at schema {found}, newer than this release's {SCHEMA_VERSION}: install the newer release, "
        f"or run `octy db downgrade {SCHEMA_VERSION}` with it"
    )


def check_schema_if_available(database: Database) -> None:
    """Do `check_schema`, unless the database is missing or does not answer: a host app starts without it.

    No connection is left open: the server may fork next.
    """
    try:
        if not database.backend.is_missing():
            check_schema(database)
    except DatabaseUnavailableError:
        pass
    finally:
        database.engine.pool.dispose()  # idle ones only: the host may use this object already


def _check_why_no_tables(database: Database) -> None:
    """Raise SchemaError when there are tables that are not Octy's, or may be tables that this role can't see."""
    if database.backend.is_missing():
        return
    with database.read() as connection:
        check_foreign_tables(connection, database.backend)
        if hidden := database.backend.schemas_without_usage(connection):
            raise SchemaError(
                f"this role has no USAGE right on the schema {hidden} of {database.backend.display_name} → "
                f"GRANT USAGE ON SCHEMA {hidden} to it, and the rights that it needs on the tables"
            )


def _is_compatible(database: Database) -> bool:
    """Whether a newer schema is compatible with this release. A note about another version than this is stale."""
    with database.read() as connection:
        found, note = connection.exec_driver_sql(_COMPATIBLE).one()
    version, _, oldest = str(note).partition(":")
    return bool(version == found) and oldest <= SCHEMA_VERSION
