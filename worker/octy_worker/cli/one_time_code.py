"""The one-time code that confirms an order or a log-in: from a setting, a command, or the terminal."""

import shlex
import subprocess
import sys

from octy_worker.cli.output import ask
from octy_worker.cli.variables import Variables
from octy_worker.errors import UsageError

_CODE_TIMEOUT = 120.0  # seconds: the command may ask for a password


def one_time_code(variables: Variables) -> str:
    """Return OCTY_STAFF_CODE, what OCTY_STAFF_CODE_COMMAND prints, or what is typed on the terminal.

    Raises UsageError.
    """
    if code := variables.get("OCTY_STAFF_CODE"):
        return code
    if command := variables.get("OCTY_STAFF_CODE_COMMAND"):
        return _code_of(command)
    if not sys.stdin.isatty():
        raise UsageError(
            "a one-time code is needed, and there is no terminal to ask for it",
            "set OCTY_STAFF_CODE, or OCTY_STAFF_CODE_COMMAND to a command that prints one",
        )
    return ask("One-time code: ")


def _code_of(command: str) -> str:
    """Return what a password manager's command prints; its errors and questions go to the terminal."""
    try:
        done = subprocess.run(  # noqa: S603  # what the user has set, without a shell
            shlex.split(command), stdout=subprocess.PIPE, text=True, check=True, timeout=_CODE_TIMEOUT
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"OCTY_STAFF_CODE_COMMAND gave no one-time code: {type(error).__name__}", "run that command by hand"
        ) from None
    return done.stdout.strip()
