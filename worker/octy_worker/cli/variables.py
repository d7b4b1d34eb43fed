"""The settings of a command: OCTY_* and TEMPORAL_* variables from the environment, a file and the options."""

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

import typer

from octy_worker.cli.output import print_note
from octy_worker.errors import UsageError

Variables = Mapping[str, str]
_PREFIXES = ("OCTY_", "TEMPORAL_")
BREAK_GLASS = "--break-glass"
"""Its presence says that the option was given; no environment variable has this name."""

PASSKEY = "--passkey"
"""As above."""


def load_variables(
    database: str | None,
    env_file: Path | None,
    key_file: str | None = None,
    server: str | None = None,
    *,
    break_glass: bool = False,
    passkey: bool = False,
) -> Variables:
    """Return OCTY_* and TEMPORAL_* variables: the environment's, overridden by the file's, then by the options."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    if env_file is not None:
        variables |= read_env_file(env_file)
    options = {
        "OCTY_DATABASE_URL": database,
        "OCTY_STAFF_KEY_FILE": key_file,
        "OCTY_SERVER": server,
        BREAK_GLASS: "yes" if break_glass else None,
        PASSKEY: "yes" if passkey else None,
    }
    return variables | {name: value for name, value in options.items() if value is not None}


def read_env_file(path: Path) -> Variables:
    """Return the OCTY_* and TEMPORAL_* variables of a file of NAME=value lines.

    Raises UsageError; its text never has a value, which may be a secret.
    """
    from octy_worker.env_file import EnvFileError, parse  # noqa: PLC0415  # it loads the middleware; see `lazy_command`

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
