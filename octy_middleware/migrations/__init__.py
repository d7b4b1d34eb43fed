"""Alembic migrations of the tables in `octy_middleware.models`.

Here: `upgrade` and the scripts. Alembic comes with the worker's extra, so it is imported on use only.
"""

from pathlib import Path

from octy_middleware.database import SCHEMA, Database
from octy_middleware.errors import ConfigurationError, SchemaError


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the database to `revision`, in one transaction where the database can.

    Raises SchemaError, with what to do, when this release knows no way from where the database is.
    """
    try:
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("alembic is missing: run this where `octy-middleware[worker]` is installed") from None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    database.backend.create()
    try:
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except CommandError as error:
        found = database.schema()
        if found is not None and found > SCHEMA:
            raise SchemaError(
                f"the database is at schema {found}, newer than this release's {SCHEMA}: install the newer release"
            ) from error
        raise SchemaError(
            f"the database is at schema {found or 'none'}, and this release knows no way from there to {revision} "
            f"({error}): is it Octy's database?"
        ) from error
