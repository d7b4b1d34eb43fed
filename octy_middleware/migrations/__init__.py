"""Alembic migrations of the tables in `octy_middleware.models`.

Here: `upgrade` and the scripts. Alembic comes with the worker's extra, so it is imported on use only.
"""

from pathlib import Path

from octy_middleware.database import Database
from octy_middleware.errors import ConfigurationError


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the database to `revision`, in one transaction where the database can."""
    try:
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("alembic is missing: run this where `octy-middleware[worker]` is installed") from None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
