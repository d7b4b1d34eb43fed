"""The exit codes of every command, and which error has which."""

import sys
from enum import IntEnum

from octy_worker.errors import (
    CommandError,
    RefusedError,
    UnavailableError,
    UsageError,
    WaitsForApprovalError,
    WaitsForSignatureError,
)


class ExitCode(IntEnum):
    """The exit codes of every `octy` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4
    WAITING = 5
    INTERRUPTED = 130


DESCRIPTIONS = {
    ExitCode.OK: "success, or no problems found",
    ExitCode.FAILED: "failed or found a problem (doctor, mail, demo, worker), or you said no",
    ExitCode.USAGE: "wrong option, setting or database schema, or unknown id",
    ExitCode.REFUSED: "refused for the reason printed; nothing was changed",
    ExitCode.UNAVAILABLE: "database, Temporal, worker or mail server unavailable; try again later",
    ExitCode.WAITING: "an order waits: see `octy orders list` or `octy orders pending`",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}


_CODES: dict[type[Exception], ExitCode] = {
    UsageError: ExitCode.USAGE,
    RefusedError: ExitCode.REFUSED,
    UnavailableError: ExitCode.UNAVAILABLE,
    WaitsForApprovalError: ExitCode.WAITING,
    WaitsForSignatureError: ExitCode.WAITING,
    CommandError: ExitCode.FAILED,  # last: it is their base
}


def exit_code_of(error: Exception) -> ExitCode | None:
    """Return the exit code of an expected error; None for an unexpected one, which is shown with its traceback."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if "octy_middleware" not in sys.modules:  # then the error is not one of its own
        return None
    from octy_middleware.errors import (  # noqa: PLC0415  # slow; see `lazy_command`
        DatabaseSetupError,
        DatabaseUnavailableError,
        OctyError,
    )

    if isinstance(error, DatabaseSetupError):
        return ExitCode.USAGE
    if isinstance(error, DatabaseUnavailableError):
        return ExitCode.UNAVAILABLE
    return ExitCode.USAGE if isinstance(error, OctyError) else None
