"""Where a command works: the variables of its process, file and options; the store and Temporal that they name.

Here: reading them, each command as little as it needs. A host of support staff has neither peppers nor sealing keys,
and `octy accounts list` asks for neither. Not here: what is done there.
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
    """Return OCTY_* and TEMPORAL_* variables: of the process, overridden by the file, overridden by the option."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    if env_file is not None:
        variables |= read_env_file(env_file)
    if database is not None:
        variables["OCTY_DATABASE_URL"] = database
    return variables


def read_env_file(path: Path) -> Variables:
    """Return the OCTY_* and TEMPORAL_* variables of a file of NAME=value lines.

    Values are never repeated in a fault: they are secrets.
    """
    from octy_worker.env_file import EnvFileError, parse  # noqa: PLC0415

    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the file {path} can't be read: {_why(error)}", "name a file of OCTY_… variables with --env-file"
        ) from None
    _warn_of_other_readers(path)
    try:
        return parse(text, lambda name: name.startswith(_PREFIXES))
    except EnvFileError as error:
        raise UsageError(f"{path}, line {error.line}: {error.wrong}", error.to_do) from None


def _warn_of_other_readers(path: Path) -> None:
    """Say on stderr that everybody on this machine can read the file; a group may be meant to."""
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        print_note(
            f"octy: every user of this machine can read the secrets in {path} → chmod 600 {shlex.quote(str(path))}"
        )


def _why(error: OSError | UnicodeDecodeError) -> str:
    return "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def variables_of(context: typer.Context) -> Variables:
    """Return what `gather` found for this command."""
    found: Variables = context.find_root().obj
    return found


def database_url(variables: Variables) -> str:
    """Return where the store is; the default is the worker's."""
    from octy_worker.settings import WorkerSettings  # noqa: PLC0415

    url = variables.get("OCTY_DATABASE_URL") or str(WorkerSettings.model_fields["database_url"].default)
    if "%00" in url or "\0" in url:
        raise UsageError("the database's file name holds a NUL", "mend OCTY_DATABASE_URL or --database")
    return url


@contextmanager
def open_database(context: typer.Context) -> Iterator["Database"]:
    """Open the store at this release's schema; close it at the end. A mistyped path makes no new file."""
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
    """Raise UsageFaultError when the store is a file that is not there; a server says by itself what it lacks."""
    if database.url.get_backend_name() != "sqlite":
        return
    place = database.backend.display_name
    try:
        Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"there is no database {place}",
            "set OCTY_DATABASE_URL or give `octy --database URL …`; `octy db upgrade` makes a new one",
        ) from None
    except OSError as error:
        raise UsageError(
            f"the database {place} can't be reached: {error.strerror}",
            "set OCTY_DATABASE_URL or give `octy --database URL …`",
        ) from None


def temporal_place(context: typer.Context) -> "TemporalAccess":
    """Return where Temporal is; nothing else must be set."""
    from octy_worker.temporal.access import TemporalAccess  # noqa: PLC0415

    return TemporalAccess.from_environment(variables_of(context))


def staff_actor(context: typer.Context, given: str | None) -> str:
    """Return who acts: the option, OCTY_ACTOR, or the log-in name."""
    return given or variables_of(context).get("OCTY_ACTOR") or login_name()


now = time.time
"""The clock of all commands."""
