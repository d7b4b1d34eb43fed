"""Alembic's environment: runs migrations on the connection of `upgrade` or `downgrade`, in their transaction."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel.sql.sqltypes import AutoString

from octy_middleware.db.backend import VERSION_TABLE
from octy_middleware.db.columns import UtcTime
from octy_middleware.db.models import METADATA


def render_item(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Render plain SQLAlchemy types in new scripts: scripts must not depend on classes that may change."""
    if kind == "type" and isinstance(item, UtcTime):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()" if item.length is None else f"sa.String(length={item.length})"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_item,
)
context.run_migrations()
