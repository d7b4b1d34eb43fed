"""How a command ends: the exit codes, and which fault means which.

Here: the one table of exit codes. Not here: printing (`console`), the place where faults are caught (`frame`).
"""

import sys
from enum import IntEnum


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


class CommandError(Exception):
    """A command's own fault: one line that says what is wrong and, after an arrow, what to do."""

    exit = Exit.WRONG

    def __init__(self, wrong: str, to_do: str = "") -> None:
        super().__init__(f"{wrong} → {to_do}" if to_do else wrong)


class UsageFaultError(CommandError):
    """What was typed can't be taken."""

    exit = Exit.INPUT


class RefusedError(CommandError):
    """The command was understood, and what it asks for is refused."""

    exit = Exit.REFUSED


class UnavailableError(CommandError):
    """Something that the command needs does not answer."""

    exit = Exit.UNAVAILABLE


def exit_of(error: Exception) -> Exit | None:
    """Return the exit code of an expected fault; None for a fault of ours, which deserves its traceback."""
    if isinstance(error, CommandError):
        return error.exit
    if "octy_worker.staff.key_orders" in sys.modules:
        from octy_worker.staff.key_orders import OrderRefusedError  # noqa: PLC0415  # slow; see `app`

        if isinstance(error, OrderRefusedError):
            return Exit.REFUSED
    if "octy_middleware" not in sys.modules:  # then it raised nothing either, and need not be loaded to ask it
        return None
    from octy_middleware.errors import (  # noqa: PLC0415  # slow; see `app`
        DatabaseSetupError,
        OctyError,
        StoreUnavailableError,
    )

    if isinstance(error, DatabaseSetupError):
        return Exit.INPUT
    if isinstance(error, StoreUnavailableError):
        return Exit.UNAVAILABLE
    return Exit.INPUT if isinstance(error, OctyError) else None
