"""Progress of long commands: a bar on a terminal, elsewhere a line every two seconds.

It goes to stderr, as stdout may be JSON.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from octy_worker.cli.output import print_note

INTERVAL = 2.0  # seconds between two lines of progress
Report = Callable[[str, int, int | None], None]
"""Gets what is done with the rows, how many are done, and how many there are, if that is known."""


@contextmanager
def show_progress(rows: str = "rows") -> Iterator[Report]:
    """Yield what reports progress. `rows`: the word for what is counted."""
    if not sys.stderr.isatty():
        yield _Lines(rows).report
        return

    columns = (TextColumn(f"{rows} {{task.description}}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield report


class _Lines:
    """Progress as plain lines: every two seconds, and at the end of each step that took longer."""

    def __init__(self, rows: str) -> None:
        self._rows = rows
        self._last = time.monotonic()

    def report(self, what: str, done: int, total: int | None) -> None:
        if done != total and time.monotonic() - self._last < INTERVAL:
            return
        self._last = time.monotonic()
        of = "" if total in {None, done} else f" of {total:,}"
        print_note(f"{self._rows} {what}: {done:,}{of}")
