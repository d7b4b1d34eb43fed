"""How a command ends: the exit codes, and which fault means which.

Here: the one table of exit codes. Not here: printing (`console`), the place where faults are caught (`frame`).
"""

import sys
from enum import IntEnum

from octy_worker.errors import CommandError, OrderRefusedError, RefusedError, UnavailableError, UsageError


class ExitCode(IntEnum):
    """The exit codes of every `octy` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


DESCRIPTIONS = {
    ExitCode.OK: "done, or all is well",
    ExitCode.FAILED: "something is wrong (doctor, mail, demo, worker), or you said no",
    ExitCode.USAGE: "a wrong option, setting or schema, or an unknown id",
    ExitCode.REFUSED: "refused, for the reason printed; nothing was changed",
    ExitCode.UNAVAILABLE: "database, Temporal, worker or mail server don't answer; try again",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}


_CODES: dict[type[Exception], ExitCode] = {
    UsageError: ExitCode.USAGE,
    RefusedError: ExitCode.REFUSED,
    OrderRefusedError: ExitCode.REFUSED,
    UnavailableError: ExitCode.UNAVAILABLE,
    CommandError: ExitCode.FAILED,  # last: it is the base of most
}


def exit_code_of(error: Exception) -> ExitCode | None:
    """Return the exit code of an expected fault; None for a fault of ours, which deserves its traceback."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if "octy_middleware" not in sys.modules:  # then it raised nothing either, and need not be loaded to ask it
        return None
    from octy_middleware.errors import (  # noqa: PLC0415  # slow; see `app`
        DatabaseSetupError,
        DatabaseUnavailableError,
        OctyError,
    )

    if isinstance(error, DatabaseSetupError):
        return ExitCode.USAGE
    if isinstance(error, DatabaseUnavailableError):
        return ExitCode.UNAVAILABLE
    return ExitCode.USAGE if isinstance(error, OctyError) else None
