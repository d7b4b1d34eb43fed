"""`octy outbox`: list undelivered messages and retry dead letters."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Limit, ListPage, OrderId, PageNumber, Reason
from octy_worker.cli.output import print_list, print_result, table
from octy_worker.errors import UsageError
from octy_worker.outbox.dead_letters import MessageLine
from octy_worker.staff.acts import RETRY_OUTBOX, Messages
from octy_worker.staff.queries import LIST_MESSAGES, ListMessages

LIST_JSON = (
    "messages[id, kind, subject_id, state, delivery_attempts, last_error, created_at, leased_by, leased_until], more, "
    "total; state is waiting, leased or dead_letter"
)
_MOST = 2**63 - 1  # the largest id that there can be
RETRY_JSON = "retried, actor"


@help_page(
    "octy outbox list",
    "octy outbox list --dead-letters --json",
    more="A worker delivers each message within a second. During an outage of Temporal all messages wait; none is "
    "lost. A message that fails five times is a dead letter and is not tried again until you run `octy outbox "
    "retry`.",
    json=LIST_JSON,
)
def list_some(
    context: typer.Context,
    dead_letters: Annotated[bool, typer.Option("--dead-letters", help="Only dead letters.")] = False,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line a message."""
    part = ListPage(limit, page)
    with open_desk(context) as desk:
        found = desk.read(LIST_MESSAGES, ListMessages(dead_letters, part.row_limit, part.offset))
    empty = "There are no dead letters." if dead_letters else "All messages are delivered."
    print_list("messages", found.rows, found.total, part, _table, empty=empty, as_json=as_json)


@help_page(
    "octy outbox retry 4711 4712 --reason 'worker updated'",
    "octy outbox retry --all --reason 'worker updated'",
    more="Each gets five new attempts; a running worker starts at once. If one of the ids is not a dead letter, "
    "nothing is changed.",
    json=RETRY_JSON,
)
def retry_some(
    context: typer.Context,
    *,
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[ID…]", min=1, max=_MOST, help="Ids of messages.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Reset the delivery attempts of dead letters."""
    if bool(numbers) == everything:
        raise UsageError("name the messages in one way", "give their ids, or --all")
    wanted = Messages(None if everything else tuple(sorted(set(numbers or ()))))
    with open_order_desk(context, actor, order_id) as desk:
        retried, who = desk.order(RETRY_OUTBOX, "", wanted, reason).retried, desk.actor
    names = ", ".join(map(str, retried))
    lines = [f"Will be retried: {names}.", "To see the result: octy outbox list"]
    print_result(
        {"retried": retried, "actor": who}, lines if retried else ["There are no dead letters."], as_json=as_json
    )


def _table(found: Sequence[MessageLine]) -> Table:
    columns = ("id", "message", "about", "state", "attempts", "last error", "since")
    rows = (
        (
            line.id,
            _words(line.kind),
            line.subject_id,
            _words(line.state),
            line.delivery_attempts,
            line.last_error,
            line.created_at,
        )
        for line in found
    )
    return table(columns, rows, no_wrap=("id", "about"))


def _words(name: str) -> str:
    return name.replace("_", " ")
