"""`octy find`: options and help text."""

from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from octy_worker.cli.context import open_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson, Limit
from octy_worker.cli.output import print_json, print_note, print_page, table
from octy_worker.cli.views import accounts, incidents, keys
from octy_worker.errors import UsageError
from octy_worker.formatting import format_count, format_source
from octy_worker.reports import search
from octy_worker.reports.search import SearchResult
from octy_worker.staff.queries import SEARCH, SearchFor

FIND_JSON = (
    "accounts[as in accounts list], keys[as in keys list], incidents[as in incidents list], "
    "requests[request_id, at, account, public_key, outcome, source], "
    "accounts_total, keys_total, incidents_total, requests_total, all_requests_searched"
)


@help_page(
    "octy find ada@acme.example",
    "octy find Ada Byron",
    "octy find pk_4fT",
    "octy find 0199f2c4-7a11-7000-8000-5d1c3f0a9b2e",
    "octy find req-7f3a9c1d",
    more="Finds accounts by part of the reference, of a name or of a mail address (also one replaced in the last 14 "
    "days); key pairs by the beginning of the public key; incidents by the beginning of their id, or by the request id "
    "in the alert. The id of any other mail or webhook finds its account. If nothing matches, the newest million "
    "refused requests are searched for this request id. Never type a secret key. For details see `octy accounts show`, "
    "`octy keys show` and `octy incidents show`. Exit code 2: nothing matches.",
    json=FIND_JSON,
)
def find(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="TEXT", help="The text to search for, in one word or several.")],
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show a table of each kind of thing that matches."""
    with open_desk(context) as desk:
        found = desk.read(SEARCH, SearchFor(" ".join(words), limit or None))
    if not any(found.totals):  # the text is not repeated: it may be a secret
        searched = (
            ""
            if found.all_requests_searched
            else f" (searched the newest {search.SEARCHED_REQUESTS:,} refused requests)"
        )
        raise UsageError(
            f"nothing matches{searched}", "try a shorter part, or see `octy accounts list` and `octy keys list`"
        )
    if as_json:
        print_json(found)
        return
    print_page(*_page(found))
    if limit and max(found.totals) > limit:
        print_note(f"only the newest {limit:,} of each kind are shown → --limit 0 shows all")


def _page(found: SearchResult) -> list[RenderableType]:
    """Return a table for each kind of result, under its total."""
    parts: list[tuple[int, str, RenderableType]] = [
        (found.accounts_total, "account", accounts.list_table(found.accounts)),
        (found.keys_total, "key pair", keys.list_table(found.keys)),
        (found.incidents_total, "incident", incidents.list_table(found.incidents)),
        (found.requests_total, "refused request", _requests(found)),
    ]
    return [part for total, noun, drawn in parts if total for part in (f"{format_count(total, noun)}:", drawn)]


def _requests(found: SearchResult) -> Table:
    columns = ("request id", "when", "account", "public key", "outcome", "source")
    rows = (
        (line.request_id, line.at, line.account, line.public_key or None, line.outcome, format_source(line.source))
        for line in found.requests
    )
    return table(columns, rows, no_wrap=("request id", "public key"))
