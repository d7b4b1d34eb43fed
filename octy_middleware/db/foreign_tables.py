"""Tables of a host app that have the names of Octy's tables.

A database may be shared with the host app, on PostgreSQL in a schema of our own. Tables are Octy's when the version
table, which only our migrations create, is beside them.
"""

from sqlalchemy import Connection, inspect

from octy_middleware.db.backend import VERSION_TABLE, Backend
from octy_middleware.db.models import METADATA
from octy_middleware.errors import SchemaError

TABLE_NAMES = frozenset({*METADATA.tables, VERSION_TABLE})
"""The names of all Octy tables; for the `include_name` of a host app's Alembic."""

_MAX_NAMES = 5  # in the error's text


def check_foreign_tables(connection: Connection, backend: Backend) -> None:
    """Raise SchemaError, with what to do, when tables with our names exist without our version table."""
    inspector = inspect(connection)
    existing = {*inspector.get_table_names(), *inspector.get_view_names()}
    found = sorted(TABLE_NAMES & existing)
    if not found or VERSION_TABLE in existing:
        return
    shown = ", ".join(found[:_MAX_NAMES])
    more = f" and {len(found) - _MAX_NAMES} more" if len(found) > _MAX_NAMES else ""
    raise SchemaError(
        f"{backend.display_name} has tables of others with the names of Octy's tables ({shown}{more}), and no table "
        f"{VERSION_TABLE} → {backend.separation_hint}"
    )
