"""Commands whose module is imported when they run: `octy --help` loads neither SQLAlchemy nor the Temporal SDK."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand
from typer.main import get_command

from octy_worker.cli.help_text import help_text

_Function = TypeVar("_Function", bound=Callable[..., None])
_DETAILS: dict[Callable[..., None], dict[str, Any]] = {}


def help_page(*examples: str, more: str = "", json: str = "") -> Callable[[_Function], _Function]:
    """Declare the help page of a command's function, after the summary that `app` has; see `help_text`."""

    def declare(function: _Function) -> _Function:
        _DETAILS[function] = {"examples": examples, "more": more, "json": json}
        return function

    return declare


class LazyCommand(TyperCommand):
    """A command's name and summary. `target` is "module:function"; the module is one of this package."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._target = target

    def load(self) -> Any:
        """Import the module; return the command with its options and its whole help page."""
        module, _, name = self._target.partition(":")
        function = getattr(import_module(f"{__package__}.{module}"), name)
        single = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False)
        single.command(self.name, help=help_text(str(self.help), **_DETAILS[function]))(function)
        return get_command(single)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Return the context of the loaded command, which is run in it."""
        return self.load().make_context(*args, **options)
