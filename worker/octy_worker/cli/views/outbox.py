"""The table of undelivered messages."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.outbox.dead_letters import MessageLine


def list_table(found: Sequence[MessageLine]) -> Table:
    """Return a table with one row a message."""
    columns = (
        Column("id", no_wrap=True),
        Column("message"),
        Column("about", no_wrap=True),
        Column("state"),
        Column("tries"),
        Column("last error"),
        Column("since"),
    )
    rows = (
        (line.id, _words(line.kind), line.subject_id, _words(line.state), line.tries, line.last_error, line.created_at)
        for line in found
    )
    return table(columns, rows)


def _words(name: str) -> str:
    return name.replace("_", " ")
