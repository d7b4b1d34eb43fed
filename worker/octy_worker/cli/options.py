"""Options that several commands share, so that they are called and explained the same everywhere."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[int, typer.Option(min=0, max=1_000_000, help="Show the newest so many; 0: all.")]
Who = Annotated[
    str | None,
    typer.Option(
        "--actor", metavar="NAME", help="Who acts. Default: OCTY_ACTOR, else your log-in.", show_default=False
    ),
]
Why = Annotated[
    str, typer.Option("--reason", help="One line for the next colleague; no mail address, no key: it is kept.")
]
Leaked = Annotated[
    bool, typer.Option("--leaked", help="The secret leaked: the old pair stops at once, not after the overlap.")
]
OrderOnly = Annotated[
    bool,
    typer.Option("--order-only", help="Write the order and print its id, to be sent from Temporal's Web UI by hand."),
]
OfAccount = Annotated[
    str | None, typer.Option("--account", metavar="REF", help="Only those of this account.", show_default=False)
]


def one_more(limit: int) -> int | None:
    """Return how many lines to read for a list of `limit`: one more tells whether there are more."""
    return limit + 1 if limit else None
