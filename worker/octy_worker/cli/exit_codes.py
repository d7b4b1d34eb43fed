"""How a command ends: the exit codes, and which fault means which.

Here: the one table of exit codes. Not here: printing (`console`), the place where faults are caught (`frame`).
"""

import sys
from enum import IntEnum

from octy_worker.errors import CommandError, OrderRefusedError, RefusedError, UnavailableError, UsageFaultError


class Exit(IntEnum):
    """The exit codes of every `octy` command."""

    OK = 0
    WRONG = 1
    INPUT = 2
    REFUSED = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


MEANING = {
    Exit.OK: "done, or all is well",
    Exit.WRONG: "something is wrong (doctor, mail, demo, worker), or you said no",
    Exit.INPUT: "a wrong option, setting or schema, or an unknown id",
    Exit.REFUSED: "refused, for the reason printed; nothing was changed",
    Exit.UNAVAILABLE: "database, Temporal, worker or mail server don't answer; try again",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
}


_CODES: dict[type[Exception], Exit] = {
    UsageFaultError: Exit.INPUT,
    RefusedError: Exit.REFUSED,
    OrderRefusedError: Exit.REFUSED,
    UnavailableError: Exit.UNAVAILABLE,
    CommandError: Exit.WRONG,  # last: it is the base of most
}


def exit_of(error: Exception) -> Exit | None:
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
        return Exit.INPUT
    if isinstance(error, DatabaseUnavailableError):
        return Exit.UNAVAILABLE
    return Exit.INPUT if isinstance(error, OctyError) else None
