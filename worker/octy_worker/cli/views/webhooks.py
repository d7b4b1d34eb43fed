"""Webhooks, drawn."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.webhooks.repository import WebhookLine


def list_table(found: Sequence[WebhookLine]) -> Table:
    """Return a line a webhook."""
    columns = (
        Column("id", whole=True),
        Column("account"),
        Column("event", whole=True),
        Column("state"),
        Column("tries"),
        Column("fault"),
        Column("since"),
        Column("delivered"),
    )
    rows = (
        (line.id, line.account, line.event, line.state, line.tries, line.last_error, line.created_at, line.sent_at)
        for line in found
    )
    return table(columns, rows)
