"""Options that several commands share, so that they are called and explained the same everywhere."""

from dataclasses import dataclass
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[int, typer.Option(min=0, max=1_000_000, help="Show the newest so many; 0: all.")]
PageNumber = Annotated[int, typer.Option("--page", min=1, max=1_000_000, help="Show the page of this number.")]
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor", metavar="NAME", help="Actor acts. Default: OCTY_ACTOR, else your log-in.", show_default=False
    ),
]
Reason = Annotated[
    str, typer.Option("--reason", help="One line for the next colleague; no mail address, no key: it is kept.")
]
Leaked = Annotated[
    bool, typer.Option("--leaked", help="The secret leaked: the old pair stops at once, not after the overlap.")
]
OrderOnly = Annotated[
    bool,
    typer.Option("--order-only", help="Write the order and print its id, to be sent from Temporal's Web UI by hand."),
]
AccountFilter = Annotated[
    str | None, typer.Option("--account", metavar="REF", help="Only those of this account.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class ListPage:
    """Which part of a list is shown: `limit` lines, 0 for all; the first page is number 1."""

    limit: int
    number: int

    @property
    def most(self) -> int | None:
        """How many lines to read; None: all."""
        return self.limit or None

    @property
    def offset(self) -> int:
        """How many lines come before."""
        return self.limit * (self.number - 1)
