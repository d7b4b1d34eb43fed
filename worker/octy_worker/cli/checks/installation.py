"""Whose database it is: the installation's id, and whether the database is where the installation had it.

Here: looks; nothing is registered or changed.
"""

from octy_middleware.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.installation import installation_id
from octy_worker.settings import WorkerSettings


def read_installation(settings: WorkerSettings) -> str | None:
    """Return the installation's id, or None when the database does not tell; another look says why."""
    try:
        database = Database(settings.database_url)
    except OctyError:
        return None
    try:
        return None if database.backend.is_missing() else installation_id(database)
    except OctyError:
        return None
    finally:
        database.close()
