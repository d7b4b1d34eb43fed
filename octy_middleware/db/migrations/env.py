"""Alembic's environment: runs migrations on the connection of `upgrade` or `downgrade`, in their transaction."""

from alembic import context  # pragma: no cover - Alembic loads this file under another name

from octy_middleware.db.backend import VERSION_TABLE  # pragma: no cover - as above

context.configure(  # pragma: no cover - as above
    connection=context.config.attributes["connection"], version_table=VERSION_TABLE
)
context.run_migrations()  # pragma: no cover - as above
