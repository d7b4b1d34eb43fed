"""The frame around every command: whatever happens inside becomes one line on stderr and an exit code.

Here: the one place where faults are caught. Not here: the commands, and what their faults mean (`exits`).
"""

from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from octy_worker.cli.console import complain
from octy_worker.cli.exits import Exit, exit_of

# typer came with click as a dependency and later with a copy inside; this is the UsageError of either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


class Frame(TyperGroup):
    """The group of all commands."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run one command and exit. Only a fault of ours leaves as an exception."""
        raise SystemExit(int(self._run(*args, **extra)))

    def _run(self, *args: Any, **extra: Any) -> int:
        try:
            return super().main(*args, **{**extra, "standalone_mode": False}) or Exit.OK
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        except _USAGE_ERROR as error:
            return _explain_usage(error)
        except ModuleNotFoundError as error:
            if (error.name or "octy").startswith("octy"):
                raise
            complain(f"the package {error.name} is missing → pip install 'octy-middleware[worker]'")
            return Exit.INPUT
        except Exception as error:
            code = exit_of(error)
            if code is None:
                raise
            complain(str(error))
            return code


def _explain_usage(error: Any) -> int:
    """Say what was typed wrong and where its help is; a command that needs a subcommand shows its help."""
    path = error.ctx.command_path if error.ctx else "octy"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        complain(f"{error.format_message()} → see `{path} --help`")
    return Exit.INPUT
