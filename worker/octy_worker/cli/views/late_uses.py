"""Retired pairs that somebody still sends, drawn."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.domain.usage import LateUse
from octy_worker.formatting import origin


def late_uses_table(uses: Sequence[LateUse]) -> Table:
    """Return a line for each source: which program must be given new keys."""
    columns = (
        Column("retired key", whole=True),
        Column("still used by"),
        Column("from", whole=True),
        Column("times"),
        Column("last"),
    )
    rows = (
        (use.public_key, use.used_by.user_agent, origin(use.used_by.source), use.used_by.count, use.used_by.last_at)
        for use in uses
    )
    return table(columns, rows, title="Retired, and still used with the right secret: refused, not counted")
