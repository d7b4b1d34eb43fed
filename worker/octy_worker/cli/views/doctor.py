"""The report of `octy doctor`."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from octy_worker import sanitize
from octy_worker.cli.doctor.check import Check, State
from octy_worker.formatting import format_count

_MARKS = {State.OK: ("✓", "green"), State.PROBLEM: ("✗", "bold red"), State.UNCHECKED: ("–", "dim")}


def page(found: Sequence[Check]) -> list[RenderableType]:
    """Return one line for each check, and a summary."""
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True)
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for check in found:
        lines.add_row(Text(*_MARKS[check.state]), Text(check.name), _text(check))
    return [lines, Text(summary(found), "bold")]


def summary(found: Sequence[Check]) -> str:
    """Return the number of problems; without any, that of the checks that could not be made."""
    problems, unchecked = (sum(check.state is state for check in found) for state in (State.PROBLEM, State.UNCHECKED))
    if problems:
        return f"{format_count(problems, 'problem')} found."
    return f"{format_count(unchecked, 'check')} could not be made." if unchecked else "No problems found."


def _text(check: Check) -> Text:
    text = Text(sanitize.for_terminal(" ".join(check.found.split())))
    return text.append(f" → {sanitize.for_terminal(check.to_do)}", "bold") if check.to_do else text
