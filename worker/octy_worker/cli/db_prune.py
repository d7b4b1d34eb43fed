"""`octy db prune`: options, help text, progress and report."""

from collections import Counter
from typing import Annotated

import typer

from octy_middleware.db.database import Database
from octy_worker.cli.context import now, open_database
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import print_json, print_lines, print_note
from octy_worker.cli.progress import show_progress
from octy_worker.cli.variables import variables_of
from octy_worker.errors import RefusedError
from octy_worker.imports.writer import clear_interrupted
from octy_worker.maintenance.retention import RetentionRun, RunStatus, count_due
from octy_worker.settings import RetentionSettings

_DATABASE_TIMEOUT = 30.0  # seconds to wait for a database that is not available
_WORDS = {
    "attempts": "refused attempts in detail",
    "messages": "delivered messages",
    "changes": "entries of the change feed",
    "webhooks": "webhooks that were delivered or failed",
    "apps": "app processes that have ended",
    "sessions": "ended sessions of staff",
    "outputs": "outputs of orders, kept for repeats",
    "secrets": "uncollected secrets",
    "incident_counts": "sums of failed attempts",
    "counters": "counters",
    "minutes": "counters per minute, merged into counters per day",
}
PRUNE_JSON = f"dry_run, rows[{', '.join(_WORDS)}], longest_step_ms"


@help_page(
    "octy db prune --dry-run",
    "octy --env-file octy.env db prune --json",
    more="Apps and workers can run meanwhile: it works in steps of milliseconds. You may stop it with Ctrl-C; the next "
    "run continues. Incidents, their timelines, mails and notices are kept. OCTY_KEEP_ATTEMPTS_DAYS (90), "
    "OCTY_KEEP_COUNTERS_DAYS (400) and OCTY_COMPACT_COUNTERS_AFTER_DAYS (35) define what has expired: use the worker's "
    "settings. A SQLite file does not shrink; its free pages are reused.",
    json=PRUNE_JSON,
)
def prune(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be deleted; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete expired rows, or count them."""
    settings = RetentionSettings.from_environment(variables_of(context))
    with open_database(context) as database:
        done, longest = (count_due(database, settings, now()), None) if dry_run else _run(database, settings)
    rows = {name: done[name] for name in _WORDS}
    if as_json:
        print_json({"dry_run": dry_run, "rows": rows, "longest_step_ms": longest})
        return
    lines = [f"{count:>11,}  {_WORDS[name]}" for name, count in rows.items() if count]
    head = "Would be deleted:" if dry_run else f"Deleted (longest step: {longest} ms):"
    print_lines(*([head, *lines] if lines else ["No rows have expired."]))


def _run(database: Database, settings: RetentionSettings) -> tuple[Counter[str], float]:
    if removed := clear_interrupted(database, now):
        print_note(f"removed {removed:,} key pairs of an earlier, interrupted import")
    with show_progress() as report:
        run = RetentionRun(
            database, settings, now, database_timeout=_DATABASE_TIMEOUT,
            on_step=lambda done: report("processed", done.total(), None),
        )  # fmt: skip
        if run.run() is RunStatus.NOT_LEASED:
            raise RefusedError("a worker is running it now", "try again in a minute, or stop that worker")
    return run.counts, round(run.longest_step * 1000, 1)
