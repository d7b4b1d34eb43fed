"""The doctor's findings, drawn."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.output import escape_for_terminal

_MARKS = {State.OK: ("✓", "green"), State.PROBLEM: ("✗", "bold red"), State.UNCHECKED: ("–", "dim")}


def page(found: Sequence[Check]) -> list[RenderableType]:
    """Return a line a check, and a summary."""
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True)
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for check in found:
        lines.add_row(Text(*_MARKS[check.state]), Text(check.name), _said(check))
    return [lines, Text(_summary(found), "bold")]


def _summary(found: Sequence[Check]) -> str:
    """Return what all lines come to. What could not be checked is not said to be well."""
    wrong, left = (sum(check.state is state for check in found) for state in (State.PROBLEM, State.UNCHECKED))
    if wrong:
        return f"{wrong} {'problem' if wrong == 1 else 'problems'} found."
    return f"{left} could not be checked." if left else "All is well."


def _said(check: Check) -> Text:
    said = Text(escape_for_terminal(" ".join(check.found.split())))
    return said.append(f" → {escape_for_terminal(check.to_do)}", "bold") if check.to_do else said
