"""`octy orders pending` and `octy orders sign`: orders that wait at a staff API for their author's signature."""

from typing import Annotated

import typer

from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.roles import Action
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson, Yes
from octy_worker.cli.output import confirm, print_json, print_lines, print_note, print_page, print_result, table
from octy_worker.cli.remote import find_prover, open_session
from octy_worker.errors import RefusedError, UsageError
from octy_worker.staff.acts import ACTS
from octy_worker.staff.operations import Submission
from octy_worker.staff.order_forms import read_fields
from octy_worker.staff.order_words import approved_facts, order_facts, sentence
from octy_worker.staff.queries import FIND_ORDER, OrderRef
from octy_worker.staff_api.wire import OrderRequest, OrderResult, PendingLine, PendingList, query_path
from octy_worker.staff_client.api_client import ApiClient, NoAnswerError
from octy_worker.staff_client.remote_desk import lost_answer
from octy_worker.staff_client.session_file import SavedSession

_WHERE = "Commands with --passkey make such orders; each can be signed for five minutes."


@help_page(
    "octy --server https://staff.example.com orders pending",
    more=_WHERE,
    json="orders[order_id, body, private, expires_at, url]",
)
def list_pending(context: typer.Context, as_json: AsJson = False) -> None:
    """Show one line for each of your orders."""
    with open_session(context) as (client, _saved):
        found = client.get("/orders/pending", PendingList).orders
    if as_json:
        print_json({"orders": found})
    elif not found:
        print_lines("No order waits for your signature.")
    else:
        rows = [(one.order_id, sentence(_read(one)), one.expires_at, one.url) for one in found]
        print_page(table(("order", "what", "until", "sign it by passkey at"), rows, no_wrap={"order"}))


@help_page(
    "octy --server https://staff.example.com orders sign 0199f2c4-7d1e-7000-8000-000000000000",
    more="For those who have no passkey: your SSH certificate signs, with a one-time code or a key that verifies its "
    f"user. What is signed is built on this machine, after you have seen it. {_WHERE}",
    json="order_id, output",
)
def sign(
    context: typer.Context,
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show an order, sign it and have it carried out."""
    with open_session(context) as (client, saved):
        waiting = {one.order_id: one for one in client.get("/orders/pending", PendingList).orders}
        if order not in waiting:
            raise UsageError(f"no order {order} waits for your signature", "`octy orders pending` shows those that do")
        wanted = _checked(waiting[order], saved)
        private = {name: value for name, (_salt, value) in waiting[order].private.items()}
        facts = [*order_facts(wanted, private), *_approved(client, wanted)]
        print_note(sentence(wanted), *(f"  {name}: {value}" for name, value in facts))
        if not yes:
            confirm("Sign this order?")
        body = wanted.to_bytes()
        proof = find_prover(context, saved).prove(body)
        submission = Submission(body.decode(), proof.signature, proof.code, waiting[order].private)
        try:
            done = client.post("/orders", OrderRequest(submission), OrderResult)
        except NoAnswerError as error:
            raise lost_answer(
                ACTS[wanted.action],
                order,
                error,
                to_do=f"run `octy orders sign {order}` again; if it does not wait any more, repeat the command that "
                "made it,",
            ) from None
    value = {"order_id": done.order_id, "output": done.output}
    output = done.output.items() if isinstance(done.output, dict) else ()
    lines = [f"Done: {sentence(wanted)}.", *(f"{name}: {made}" for name, made in output)]
    print_result(value, lines, as_json=as_json)


def _checked(line: PendingLine, saved: SavedSession) -> Order:
    """Return an order of this person at this installation, with private fields that fit. Raises RefusedError."""
    order = _read(line)
    if (order.installation, order.actor) != (saved.installation, saved.handle):
        raise RefusedError("the server shows an order of another person or installation")
    try:
        read_fields(ACTS[order.action], order, line.private)
    except InvalidOrderError as error:
        raise RefusedError(str(error)) from None
    return order


def _approved(client: ApiClient, order: Order) -> list[tuple[str, str]]:
    """Return what an approval is about, in full. Raises RefusedError."""
    if order.action is not Action.APPROVE:
        return []
    found = client.post(query_path(FIND_ORDER.name), OrderRef(order.subject), FIND_ORDER.output)
    try:
        return approved_facts(order, found.body)
    except InvalidOrderError as error:
        raise RefusedError(str(error)) from None


def _read(line: PendingLine) -> Order:
    try:
        return Order.from_bytes(line.body.encode())
    except InvalidOrderError as error:
        raise RefusedError(f"the server shows what is no order: {error}") from None
