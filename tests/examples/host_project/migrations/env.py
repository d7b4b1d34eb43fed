"""The host's own Alembic, which knows nothing of Octy, but for what one rule ignores."""

import os

from alembic import context
from models import SQLModel
from sqlmodel import create_engine

ignored = os.environ["HOST_ALEMBIC_IGNORES"]


def include_name(name, kind, parents):
    """As docs/shared-database.md has it: for a host that looks into every schema, or shares one with Octy."""
    if ignored == "schema":
        return kind != "schema" or name != "octy_data"
    if ignored == "tables":
        from octy_middleware.db.foreign_tables import TABLE_NAMES

        return kind != "table" or name not in TABLE_NAMES
    return True


with create_engine(os.environ["HOST_DATABASE_URL"]).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,
        include_schemas=ignored == "schema",
        include_name=include_name,
    )
    with context.begin_transaction():
        context.run_migrations()
connection.engine.dispose()
