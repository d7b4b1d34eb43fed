"""Options that several commands share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from octy_worker.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[int, typer.Option(min=0, max=1_000_000, help="Show at most this many, the newest; 0: all.")]
PageNumber = Annotated[int, typer.Option("--page", min=1, max=1_000_000, help="Show this page.")]
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor",
        metavar="NAME",
        help="Who acts. Default: the name in your certificate; without one OCTY_ACTOR, else your login name.",
        show_default=False,
    ),
]
Reason = Annotated[
    str,
    typer.Option("--reason", help="Why, in one line for your colleagues. It is stored: no mail addresses, no keys."),
]
IncidentId = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id, or a unique prefix of it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the worker's response.")]
Leaked = Annotated[
    bool, typer.Option("--leaked", help="The secret is leaked: the old key pair ends at once, not after the overlap.")
]
OrderOnly = Annotated[
    bool,
    typer.Option("--order-only", help="Only have the order received and print its id; send it from Temporal's Web UI."),
]
OrderId = Annotated[
    str | None,
    typer.Option(
        "--order-id",
        metavar="ID",
        help="Repeat the order of this id, which is carried out once, or give a new one this id.",
        show_default=False,
    ),
]
"""Of every command that places an order (`context.open_order_desk`)."""
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]
Account = Annotated[str, typer.Argument(metavar="REFERENCE", help="The account's reference or id.")]
AccountOption = Annotated[str, typer.Option("--account", metavar="REF", help="The account's reference or id.")]
AccountFilter = Annotated[
    str | None, typer.Option("--account", metavar="REF", help="Only those of this account.", show_default=False)
]
CertificateHandle = Annotated[
    str, typer.Option("--as", metavar="HANDLE", help="Who you are, if the certificate names several people.")
]


def parse_time(option: str, text: str) -> datetime:
    """Return a time as an aware datetime; without a zone it is UTC. Raises UsageError, which names the option."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a time", "use the form 2026-01-09T14:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


@dataclass(frozen=True, slots=True)
class ListPage:
    """Which part of a list is shown: `limit` rows, 0 for all; the first page is number 1."""

    limit: int
    number: int

    @property
    def row_limit(self) -> int | None:
        """How many rows to read; None: all."""
        return self.limit or None

    @property
    def offset(self) -> int:
        """How many rows come before this page."""
        return self.limit * (self.number - 1)
