"""`octy accounts erase`: erase what is known about a customer."""

from dataclasses import asdict
from typing import Annotated

import typer

from octy_middleware.errors import InvalidInputError
from octy_worker.access.roles import Action
from octy_worker.cli.context import open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, OrderId, Reason
from octy_worker.cli.output import confirm, print_result
from octy_worker.errors import CommandError, UsageError
from octy_worker.staff.acts import ERASE, NoFields
from octy_worker.staff.operations import Desk
from octy_worker.staff.queries import FIND_ACCOUNT, AccountKey, AccountRef

ERASE_JSON = "account_id, details, actor"


@help_page(
    "octy accounts erase acme --reason 'request of the customer, ticket 4711'",
    more="For customers who want to be forgotten. Its key pairs must be revoked and its incidents closed. Erased are "
    "reference, contact data, webhook URL, the sources of all its requests, what staff wrote about it, and the "
    "details of its entries in the audit log. Ids, times and counts stay, and the audit log still verifies. It can't "
    "be undone. After a restored backup `octy db restored --audit-log` erases it again.",
    json=ERASE_JSON,
)
def erase(
    context: typer.Context,
    *,
    account: Annotated[str, typer.Argument(metavar="REFERENCE", help="The account's reference or id.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order it, after a question."""
    with open_order_desk(context, actor, order_id) as desk:
        found = _find(desk, account)
        question = f"Erase everything about {found.reference} ({found.account_id}) for good?"
        if not (yes or found.erased or confirm(question)):
            raise CommandError("nothing was erased")
        erased = desk.order(ERASE, found.account_id, NoFields(), reason)
        who = desk.actor
    lines = [f"Account {erased.account_id} is erased, with {erased.details:,} details of the audit log."]
    print_result("the account is erased", {**asdict(erased), "actor": who}, lines, as_json=as_json)


def _find(desk: Desk, account: str) -> AccountKey:
    """Return the account of this reference or id; where the order of its erasure is repeated, it has no reference."""
    try:
        return desk.read(FIND_ACCOUNT, AccountRef(account))
    except (InvalidInputError, UsageError):  # on the host; from the staff API
        order = desk.find_order()
        if order is None or order.action is not Action.ERASE_ACCOUNT:
            raise
        found = desk.read(FIND_ACCOUNT, AccountRef(order.subject))
        if not found.erased:
            raise
        return found
