"""`octy db prune`: what can be typed, with its help, and what is said of a run.

Here: options, progress. Not here: what goes, and how (`octy_worker.maintenance.retention`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import now, open_database, variables_of
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import print_json, print_lines, print_note
from octy_worker.errors import RefusedError

if TYPE_CHECKING:
    from octy_middleware.db.database import Database
    from octy_worker.settings import RetentionSettings

_WAITS = 30.0  # seconds for a store that is away
_WORDS = {
    "attempts": "refused attempts in detail",
    "messages": "delivered messages",
    "changes": "entries of the change feed",
    "webhooks": "webhooks that came to their end",
    "apps": "app processes that are gone",
    "secrets": "secrets that nobody collected",
    "incident_counts": "sums of failed attempts",
    "counters": "counters",
    "minutes": "counters of minutes, added up by the day",
}
PRUNE_JSON = f"dry_run, rows[{', '.join(_WORDS)}], longest_step_ms"
PRUNE_HELP = help_text(
    "Drop what is past its time, and add up old counters by the day. Workers do it once a day.",
    "octy db prune --dry-run",
    "octy --env-file octy.env db prune --json",
    more="In steps of milliseconds: every process may run meanwhile. Ctrl-C is harmless, the next run goes on. Cases "
    "and their timelines, mails and notices stay. OCTY_KEEP_ATTEMPTS_DAYS (90), OCTY_KEEP_COUNTERS_DAYS (400) and "
    "OCTY_COMPACT_COUNTERS_AFTER_DAYS (35) say what is past its time: give the worker's settings. A SQLite file does "
    "not shrink; what is freed is used again.",
    json=PRUNE_JSON,
)
_Report = Callable[[Counter[str]], None]


def prune(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do a run, or count what it would do."""
    from octy_worker.maintenance.retention import count_due
    from octy_worker.settings import RetentionSettings

    settings = RetentionSettings.from_environment(variables_of(context))
    with open_database(context) as database:
        done, longest = (count_due(database, settings, now()), None) if dry_run else _run(database, settings)
    rows = {name: done[name] for name in _WORDS}
    if as_json:
        print_json({"dry_run": dry_run, "rows": rows, "longest_step_ms": longest})
        return
    said = [f"{count:>11,}  {_WORDS[name]}" for name, count in rows.items() if count]
    head = "This would go:" if dry_run else f"This went, the longest step took {longest} ms:"
    print_lines(*([head, *said] if said else ["Nothing is past its time."]))


def _run(database: "Database", settings: "RetentionSettings") -> tuple[Counter[str], float]:
    from octy_worker.imports.writer import clear_interrupted
    from octy_worker.maintenance.retention import Ended, Run

    if removed := clear_interrupted(database, now):
        print_note(f"{removed:,} pairs of an import that was interrupted are removed")
    with _progress() as report:
        run = Run(database, settings, now, waits=_WAITS, report=report)
        if run.go() is Ended.HELD:
            raise RefusedError("a worker is doing it now", "look again in a minute, or stop that worker")
    return run.done, round(run.pace.longest * 1000, 1)


@contextmanager
def _progress() -> Iterator[_Report]:
    """Show counts that grow, on a terminal; on stderr, for stdout may be JSON."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("looking")

        def report(done: Counter[str]) -> None:
            shown.update(task, description=", ".join(f"{count:,} {name}" for name, count in done.items() if count))

        yield report
