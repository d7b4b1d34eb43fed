"""Webhooks as a table."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.webhooks.repository import WebhookLine


def list_table(found: Sequence[WebhookLine]) -> Table:
    """Return one row for each webhook."""
    columns = (
        Column("id", no_wrap=True),
        Column("account"),
        Column("event", no_wrap=True),
        Column("state"),
        Column("attempts"),
        Column("error"),
        Column("created"),
        Column("delivered"),
    )
    rows = (
        (line.id, line.account, line.event, line.state, line.tries, line.last_error, line.created_at, line.sent_at)
        for line in found
    )
    return table(columns, rows)
