"""`octy orders`: orders of staff, and approvals by a second person."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from octy_worker.access.orders import Order
from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Limit, ListPage, OrderId, PageNumber, Reason, Yes
from octy_worker.cli.output import confirm, print_lines, print_list, print_result, table
from octy_worker.errors import UsageError
from octy_worker.staff.acts import ACKNOWLEDGE, APPROVE, Approval
from octy_worker.staff.operations import NoFields
from octy_worker.staff.queries import FIND_ORDER, LIST_ORDERS, ListOrders, OrderLine, OrderRef

LIST_JSON = "orders[id, action, subject, actor, state, factor, received_at, ended_at, refusal], more, total"
_Order = Annotated[str, typer.Argument(metavar="ID", help="The order's id.")]
APPROVE_JSON = "order_id, action, author, carried_out"


@help_page("octy orders list", "octy orders list --all --json", json=LIST_JSON)
def list_some(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="All orders, not only those that wait for a second person.")
    ] = False,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line for each order."""
    part = ListPage(limit, page)
    with open_desk(context) as desk:
        found = desk.read(LIST_ORDERS, ListOrders(everything, part.row_limit, part.offset))
    empty = "There are no orders yet." if everything else "No order waits for a second person."
    print_list("orders", found.rows, found.total, part, _table, empty=empty, as_json=as_json)


@help_page(
    "octy orders approve 0199f2c4-7a11-7000-8000-5d1c3f0a9b2e",
    more="For actions in OCTY_FOUR_EYES. It shows the order and asks; your approval is signed as your own orders are. "
    "Then the order is carried out. You can't approve an order of your own. If its output is for its author alone, "
    "they repeat their command with --order-id.",
    json=APPROVE_JSON,
)
def approve(
    context: typer.Context,
    approved_id: _Order,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line.")] = "looked at and approved",
    actor: Actor = None,
    order_id: OrderId = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show the order and approve it."""
    with open_order_desk(context, actor, order_id) as desk:
        body = desk.read(FIND_ORDER, OrderRef(approved_id)).body
        if not body:
            raise UsageError("there is no order of this id", "`octy orders list` shows those that wait")
        order = Order.from_bytes(body.encode())  # what is shown is what the signed digest is of
        if not yes:
            print_lines(*_words(order))
            confirm("Approve it?")
        approved = desk.order(APPROVE, order.order_id, Approval(order.digest()), reason)
    end = "carried out" if approved.carried_out else f"approved; {approved.author} repeats the command with its id"
    lines = [f"The order {approved.order_id} ({approved.action}) of {approved.author} is {end}."]
    print_result(approved, lines, as_json=as_json)


@help_page(
    "octy orders acknowledge 0199f2c4-7a11-7000-8000-5d1c3f0a9b2e --reason 'ada could not reach the CA'",
    more="By an admin. `octy doctor` shows an order by break glass until then.",
    json="order_id",
)
def acknowledge(
    context: typer.Context,
    acknowledged_id: _Order,
    *,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Acknowledge it."""
    with open_order_desk(context, actor, order_id) as desk:
        done = desk.order(ACKNOWLEDGE, acknowledged_id, NoFields(), reason)
    print_result(done, [f"The order {acknowledged_id} is acknowledged."], as_json=as_json)


def _words(order: Order) -> list[str]:
    fields = [f"  {name}: {value}" for name, value in sorted(order.fields.items())]
    about = f" about {order.subject}" if order.subject else ""
    return [f"{order.actor} orders {order.action}{about}: {order.reason}", *fields, f"  SHA-256: {order.digest()}"]


def _table(found: Sequence[OrderLine]) -> Table:
    columns = ("order", "action", "about", "by", "state", "second factor", "received")
    rows = (
        (line.id, line.action, line.subject, line.actor, line.state, line.factor, line.received_at) for line in found
    )
    return table(columns, rows, no_wrap=("order",))
