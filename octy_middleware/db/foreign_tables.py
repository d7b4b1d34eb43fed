"""Tables of a host app that have the names of Octy's tables.

A database may be shared with the host app, in a schema of our own on PostgreSQL. Whether tables are ours is known by
the version table beside them, which only our migrations make.
"""

from sqlalchemy import Connection, inspect

from octy_middleware.db.backend import VERSION_TABLE, Backend
from octy_middleware.db.models import METADATA
from octy_middleware.errors import SchemaError

TABLE_NAMES = frozenset({*METADATA.tables, VERSION_TABLE})
"""The names of all tables of ours; for the `include_name` of a host app's Alembic."""

_SHOWN = 5  # names in one line


def refuse_foreign_tables(connection: Connection, backend: Backend) -> None:
    """Raise SchemaError, with what to do, when tables of our names are there and our version table is not."""
    found = foreign_tables(connection)
    if not found:
        return
    shown = ", ".join(found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise SchemaError(
        f"{backend.place} has tables of others with the names of Octy's tables ({shown}{more}), and no table "
        f"{VERSION_TABLE} → {backend.separation_hint}"
    )


def foreign_tables(connection: Connection) -> list[str]:
    """Return the names of our tables that something else has, where our migrations have not been."""
    inspector = inspect(connection)
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    return [] if VERSION_TABLE in there else sorted(TABLE_NAMES & there)
