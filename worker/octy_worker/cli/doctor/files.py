"""Files that hold secrets: whether every user of this machine can read or write them.

These are the settings' file, private keys and the database's file. Access for a group may be intended.
"""

import shlex
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_worker.cli.doctor.check import Check, passed
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.variables import Variables
from octy_worker.settings import WorkerSettings

_VARIABLES = (
    "OCTY_PAGES_PRIVATE_KEY",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_CONFIG_FILE",
    "TEMPORAL_CLIENT_CONFIG_FILE",
)


def check_secret_files(settings: WorkerSettings, variables: Variables, env_file: Path | None) -> Iterator[Check]:
    """Check each file that exists; a missing one is reported by the check that needs it."""
    files = [env_file, *(Path(variables[name]) for name in _VARIABLES if variables.get(name)), _database(settings)]
    found = [
        problem("secret-file-readable", file=shlex.quote(str(file)))
        for file in files
        if file is not None and _is_open_to_others(file)
    ]
    yield from found or [passed("files of secrets", "none is readable or writable for every user of this machine")]


def _database(settings: WorkerSettings) -> Path | None:
    try:
        with closing(Database(settings.database_url)) as database:
            return Path(database.backend.display_name) if database.url.get_backend_name() == "sqlite" else None
    except OctyError:
        return None


def _is_open_to_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False
