"""The group of all commands: it turns every error into one line on stderr and an exit code."""

import errno
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from octy_worker.cli.exit_codes import ExitCode, exit_code_of
from octy_worker.cli.output import print_error
from octy_worker.errors import CommandError, UsageError

# typer came with click as a dependency and later with a copy inside; this is the UsageError of either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class MainGroup(TyperGroup):
    """The group of all commands; the only place where errors are caught."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run one command and exit. Only an unexpected error, a bug, leaves as an exception."""
        raise SystemExit(int(self._run(*args, **extra)))

    def _run(self, *args: Any, **extra: Any) -> int:
        try:
            _require_utf8(*args, **extra)
            code = super().main(*args, **{**extra, "standalone_mode": False}) or ExitCode.OK
            sys.stdout.flush()  # here, where an error can still be reported
        except BrokenPipeError:  # the reader has closed the pipe
            return ExitCode.FAILED
        except _USAGE_ERROR as error:
            return _report_usage_error(error)
        except ModuleNotFoundError as error:
            if (error.name or "octy").startswith("octy"):
                raise
            print_error(f"the package {error.name} is not installed → pip install 'octy-middleware[worker]'")
            return ExitCode.USAGE
        except Exception as error:
            exit_code = _report(error)
            if exit_code is None:
                raise
            return exit_code
        return code


def _require_utf8(args: Sequence[str] | None = None, *_others: Any, **_extra: Any) -> None:
    """Raise UsageError for an argument that is not UTF-8: neither the database nor JSON accepts it."""
    for argument in sys.argv[1:] if args is None else args:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{argument[:100]!r} is not UTF-8 text", "type it in UTF-8") from None


def _report(error: Exception) -> int | None:
    """Print an expected error and return its exit code; None for an unexpected one."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS and error.filename is None:
        error = CommandError(
            f"the output can't be written: {error.strerror}", "free some disk space, or write it elsewhere"
        )
    code = exit_code_of(error)
    if code is not None:
        print_error(str(error))
    return code


def _report_usage_error(error: Any) -> int:
    """Print what was typed wrong and which --help explains it; a group without a subcommand shows its help."""
    path = error.ctx.command_path if error.ctx else "octy"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        message = error.format_message().replace("Value error, ", "")  # pydantic's prefix
        print_error(f"{message} → see `{path} --help`")
    return ExitCode.USAGE
