"""Search results as tables."""

from rich.console import RenderableType
from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.cli.views import accounts, incidents, keys
from octy_worker.formatting import format_count, format_source
from octy_worker.reports.search import SearchResult


def page(found: SearchResult) -> list[RenderableType]:
    """Return a table for each kind of result, under its total."""
    parts: list[tuple[int, str, RenderableType]] = [
        (found.accounts_total, "account", accounts.list_table(found.accounts)),
        (found.keys_total, "key pair", keys.list_table(found.keys)),
        (found.incidents_total, "incident", incidents.list_table(found.incidents)),
        (found.requests_total, "refused request", _requests(found)),
    ]
    return [part for total, noun, drawn in parts if total for part in (f"{format_count(total, noun)}:", drawn)]


def _requests(found: SearchResult) -> Table:
    columns = (
        Column("request id", no_wrap=True),
        Column("when"),
        Column("account"),
        Column("public key", no_wrap=True),
        Column("outcome"),
        Column("source"),
    )
    rows = (
        (line.request_id, line.at, line.account, line.public_key or None, line.outcome, format_source(line.source))
        for line in found.requests
    )
    return table(columns, rows)
