"""`octy doctor`: options and help text."""

from collections.abc import Sequence

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from octy_worker import sanitize
from octy_worker.cli.doctor import run_checks
from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import print_json, print_page
from octy_worker.cli.variables import variables_of
from octy_worker.formatting import format_count

DOCTOR_JSON = "ok, checks[name, state: ok | problem | unchecked, found, to_do, code]"


@help_page(
    "octy --env-file octy.env doctor",
    "octy doctor --json | jq '.checks[] | select(.state != \"ok\")'",
    more="It checks settings, packages, database, outbox, Temporal and its workers, mail server and pages; then the "
    "work itself: alerts, incidents, keys, mails, webhooks, commits, a test write, clocks. It leaves no changes and "
    "sends no mail. Run it where the worker runs, with the worker's settings. Exit code 1: problems found, or checks "
    "that could not be made.",
    json=DOCTOR_JSON,
)
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Run all checks."""
    checks = run_checks(variables_of(context), context.find_root().params.get("env_file"))
    ok = all(check.state is State.OK for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": checks})
    else:
        print_page(*page(checks))
    raise typer.Exit(ExitCode.OK if ok else ExitCode.FAILED)


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
