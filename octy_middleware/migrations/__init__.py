"""Alembic migrations of the tables in `octy_middleware.models`.

Here: `upgrade`, and the check of what it made. Not here: the scripts (`versions`), what differs (`comparison`).
Alembic comes with the worker's extra, so it is imported on use only.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from octy_middleware.database import SCHEMA, Database
from octy_middleware.errors import ConfigurationError, SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

_SHOWN = 5  # differences in one line


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Bring the database to `revision`, in one transaction; return where it was, None if it had no tables.

    Whoever comes second while another process does it waits, and finds it done. Raises SchemaError, with what to do,
    when this release knows no way from where the database is.
    """
    config = _config()
    from alembic import command  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    database.backend.create()
    try:
        with database.write() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            return found
    except CommandError as error:
        raise _no_way(database.schema(), revision, error) from error


def check_tables(database: Database) -> None:
    """Raise SchemaError, with what to do, unless the tables are this release's: by name, and in all that they have."""
    database.check_schema()
    _config()
    from octy_middleware.migrations.comparison import differences  # noqa: PLC0415

    with database.read() as connection:
        found = differences(connection)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise SchemaError(
            f"the database says that it is at schema {SCHEMA}, but its tables are others: "
            f"{'; '.join(found[:_SHOWN])}{more} → undo what was changed by hand, or restore a backup"
        )


def _config() -> "Config":
    try:
        from alembic.config import Config  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("alembic is missing: run this where `octy-middleware[worker]` is installed") from None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _no_way(found: str | None, revision: str, error: Exception) -> SchemaError:
    if found is not None and found > SCHEMA:
        return SchemaError(
            f"the database is at schema {found}, newer than this release's {SCHEMA}: install the newer release"
        )
    return SchemaError(
        f"the database is at schema {found or 'none'}, and this release knows no way from there to {revision} "
        f"({error}): is it Octy's database?"
    )
