"""The frame around every command: whatever happens inside becomes one line on stderr and an exit code.

Here: the one place where faults are caught. Not here: the commands, and what their faults mean (`exits`).
"""

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
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class MainGroup(TyperGroup):
    """The group of all commands."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run one command and exit. Only a fault of ours leaves as an exception."""
        raise SystemExit(int(self._run(*args, **extra)))

    def _run(self, *args: Any, **extra: Any) -> int:
        try:
            _check_words(*args, **extra)
            code = super().main(*args, **{**extra, "standalone_mode": False}) or ExitCode.OK
            sys.stdout.flush()  # here, where it can be told that nothing was printed
        except BrokenPipeError:  # nobody reads any more
            return ExitCode.FAILED
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except _USAGE_ERROR as error:
            return _explain_usage(error)
        except ModuleNotFoundError as error:
            if (error.name or "octy").startswith("octy"):
                raise
            print_error(f"the package {error.name} is missing → pip install 'octy-middleware[worker]'")
            return ExitCode.USAGE
        except Exception as error:
            explained = _explain(error)
            if explained is None:
                raise
            return explained
        return code


def _check_words(args: Sequence[str] | None = None, *_others: Any, **_extra: Any) -> None:
    """Raise UsageFaultError for a word that is no UTF-8: neither the store nor JSON could take it."""
    for word in sys.argv[1:] if args is None else args:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word[:100]!r} is no UTF-8 text", "type it in UTF-8") from None


def _explain(error: Exception) -> int | None:
    """Say what happened and return the exit code; None for a fault of ours."""
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        error = CommandError(f"the output can't be written: {error.strerror}", "make room, or write it elsewhere")
    code = exit_code_of(error)
    if code is not None:
        print_error(str(error))
    return code


def _explain_usage(error: Any) -> int:
    """Say what was typed wrong and where its help is; a command that needs a subcommand shows its help."""
    path = error.ctx.command_path if error.ctx else "octy"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        wrong = error.format_message().replace("Value error, ", "")  # pydantic's word, not a person's
        print_error(f"{wrong} → see `{path} --help`")
    return ExitCode.USAGE
