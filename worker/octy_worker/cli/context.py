"""The context of a command: its settings, from environment, file and options, and the database and Temporal they name.

Each command reads only the settings that it needs: support staff have neither peppers nor sealing keys, and
`octy accounts list` needs neither.
"""

import os
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from octy_worker.cli.output import print_note
from octy_worker.errors import UsageError
from octy_worker.staff.actor import login_name

if TYPE_CHECKING:  # slow to load; see `app`
    from octy_middleware.db.database import Database
    from octy_worker.temporal.access import TemporalAccess

Variables = Mapping[str, str]
_PREFIXES = ("OCTY_", "TEMPORAL_")


def load_variables(database: str | None, env_file: Path | None) -> Variables:
    """Return OCTY_* and TEMPORAL_* variables: the environment's, overridden by the file's, then by the option."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    if env_file is not None:
        variables |= read_env_file(env_file)
    if database is not None:
        variables["OCTY_DATABASE_URL"] = database
    return variables


def read_env_file(path: Path) -> Variables:
    """Return the OCTY_* and TEMPORAL_* variables of a file of NAME=value lines.

    Raises UsageError; its text never has a value, which may be a secret.
    """
    from octy_worker.env_file import EnvFileError, parse  # noqa: PLC0415

    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the file {path} can't be read: {_reason(error)}", "name a file of OCTY_* settings with --env-file"
        ) from None
    _warn_if_readable_by_others(path)
    try:
        return parse(text, lambda name: name.startswith(_PREFIXES))
    except EnvFileError as error:
        raise UsageError(f"{path}, line {error.line}: {error.wrong}", error.to_do) from None


def _warn_if_readable_by_others(path: Path) -> None:
    """Print a warning when every user of this machine can read the file; access for a group may be intended."""
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        print_note(
            f"octy: every user of this machine can read the secrets in {path} → chmod 600 {shlex.quote(str(path))}"
        )


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def variables_of(context: typer.Context) -> Variables:
    """Return the variables that `load_variables` loaded for this command."""
    variables: Variables = context.find_root().obj
    return variables


def database_url(variables: Variables) -> str:
    """Return the database's URL; the default is the worker's."""
    from octy_worker.settings import WorkerSettings  # noqa: PLC0415

    url = variables.get("OCTY_DATABASE_URL") or str(WorkerSettings.model_fields["database_url"].default)
    if "%00" in url or "\0" in url:
        raise UsageError("the database's file name contains a NUL character", "correct OCTY_DATABASE_URL or --database")
    return url


@contextmanager
def open_database(context: typer.Context) -> Iterator["Database"]:
    """Open the database at this release's schema and close it at the end. A mistyped path creates no file."""
    from octy_middleware.db.database import Database  # noqa: PLC0415
    from octy_middleware.db.schema_version import check_schema  # noqa: PLC0415

    database = Database(database_url(variables_of(context)))
    try:
        require_database_file(database)
        check_schema(database)
        yield database
    finally:
        database.close()


def require_database_file(database: "Database") -> None:
    """Raise UsageError when the database is a file that does not exist; a server reports its own errors."""
    if database.url.get_backend_name() != "sqlite":
        return
    place = database.backend.display_name
    try:
        Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"there is no database {place}",
            "set OCTY_DATABASE_URL or use `octy --database URL …`; `octy db upgrade` creates a new one",
        ) from None
    except OSError as error:
        raise UsageError(
            f"the database {place} can't be reached: {error.strerror}",
            "set OCTY_DATABASE_URL or use `octy --database URL …`",
        ) from None


def temporal_place(context: typer.Context) -> "TemporalAccess":
    """Return Temporal's address and options; no other setting is needed."""
    from octy_worker.temporal.access import TemporalAccess  # noqa: PLC0415

    return TemporalAccess.from_environment(variables_of(context))


def staff_actor(context: typer.Context, given: str | None) -> str:
    """Return who acts: the option, OCTY_ACTOR, or the login name."""
    return given or variables_of(context).get("OCTY_ACTOR") or login_name()


now = time.time
"""The clock of all commands."""
