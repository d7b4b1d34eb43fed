"""Use of retired key pairs as a table."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.domain.usage import LateUse
from octy_worker.formatting import format_source


def late_uses_table(uses: Sequence[LateUse]) -> Table:
    """Return one row for each source that still sends a retired key pair."""
    columns = (
        Column("retired key", no_wrap=True),
        Column("user agent"),
        Column("source", no_wrap=True),
        Column("requests"),
        Column("last"),
    )
    rows = (
        (
            use.public_key,
            use.used_by.user_agent,
            format_source(use.used_by.source),
            use.used_by.count,
            use.used_by.last_at,
        )
        for use in uses
    )
    return table(
        columns,
        rows,
        title="Retired key pairs that are still used with the right secret (refused, not counted as failures)",
    )
