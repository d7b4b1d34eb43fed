"""`octy accounts`: options and help texts."""

from dataclasses import asdict
from typing import Annotated

import typer

from octy_middleware.errors import InvalidInputError
from octy_worker.access.roles import Action
from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Account, Actor, AsJson, Limit, ListPage, OrderId, PageNumber, Reason, Yes
from octy_worker.cli.output import confirm, print_json, print_list, print_omitted, print_page, print_result
from octy_worker.cli.views import accounts as view
from octy_worker.errors import UsageError
from octy_worker.staff.acts import ADD_ACCOUNT, CHANGE_ACCOUNT, ERASE, ContactAddress, NewAccount
from octy_worker.staff.operations import Desk, NoFields
from octy_worker.staff.queries import (
    FIND_ACCOUNT,
    LIST_ACCOUNTS,
    SHOW_ACCOUNT,
    AccountKey,
    AccountRef,
    ListPart,
    ShowAccount,
)

_NEW = "a new customer"
ADD_JSON = "account_id, regeneration_id, reference, contact_email_address"
CHANGE_JSON = "account_id, account, contact_email_address, security_address, takes_effect_at, keys_wait"
ERASE_JSON = "account_id, details, actor"
LIST_JSON = "accounts[id, reference, contact_email_address, live_pairs, open_incidents, created_at], more, total"
SHOW_JSON = (
    "id, reference, contact_email_address, contact_name, contact_surname, webhook_url, authenticated_id_key, "
    "security_addresses, contact_changed_at, contact_takes_effect_at, created_at, pairs, open_incidents, "
    "regenerations, notices[id, kind, at, public_key, regeneration_id, mails], notices_total, mails, mails_total"
)


@help_page(
    "octy accounts add --reference acme --email security@acme.example",
    "octy accounts add --reference 4711 --email ada@acme.example --name Ada",
    more="The worker issues the key pair and mails a link that shows the secret once. It is never shown again.",
    json=ADD_JSON,
)
def add(
    context: typer.Context,
    *,
    reference: Annotated[str, typer.Option(help="Your own id for the customer, 1 to 200 characters.")],
    email: Annotated[str, typer.Option(help="The mail address for alerts and new keys.")],
    name: Annotated[str, typer.Option(help="The contact's given name.")] = "",
    surname: Annotated[str, typer.Option(help="The contact's family name.")] = "",
    webhook: Annotated[str, typer.Option(help="The account's webhook URL.")] = "",
    id_key: Annotated[str, typer.Option("--id-key", help="The account's authenticated id key.")] = "",
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Create the account; the worker does everything else."""
    own_id, address = reference.strip(), email.strip()
    with open_order_desk(context, actor, order_id) as desk:
        added = desk.order(ADD_ACCOUNT, "", NewAccount(reference, email, name, surname, webhook, id_key), _NEW)
    mailed = "The worker mails the public key, and a link that shows the secret once"
    lines = [
        f"Account {own_id} is created ({added.account_id}).",
        f"Its first key pair is ordered. {mailed}, to {address}.",
        f"To see its progress: octy accounts show {own_id}",
    ]
    print_result({**asdict(added), "reference": own_id, "contact_email_address": address}, lines, as_json=as_json)


@help_page(
    "octy accounts change acme --email security@acme.example --reason 'mistyped, ticket 4711'",
    more="For an address that is mistyped or that rejects mails. The new address and all addresses of the last 14 "
    "days get a notice; the notice to the previous address has a link to object. Alerts and links to keys go to "
    "the new address after 24 hours, or 7 days after a change made with the API keys. Then send uncollected keys "
    "again with `octy keys resend`. The change is audited.",
    json=CHANGE_JSON,
)
def change(
    context: typer.Context,
    *,
    account: Account,
    email: Annotated[str, typer.Option(help="The new mail address for alerts and new keys.")],
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Change it in SQL; the worker sends the notices."""
    with open_order_desk(context, actor, order_id) as desk:
        account_id = desk.read(FIND_ACCOUNT, AccountRef(account)).account_id
        changed = desk.order(CHANGE_ACCOUNT, account_id, ContactAddress(email), reason)
    print_result(changed, view.changed_lines(changed), as_json=as_json)


@help_page(
    "octy accounts erase acme --reason 'request of the customer, ticket 4711'",
    more="For customers who want to be forgotten. Its key pairs must be revoked and its incidents closed. Erased are "
    "reference, contact data, webhook URL, the sources of all its requests, what staff wrote about it, and the "
    "details of its entries in the audit log. Ids, times and counts stay, and the audit log still verifies. It can't "
    "be undone. After a restored backup `octy db restored --command-log` erases it again.",
    json=ERASE_JSON,
)
def erase(
    context: typer.Context,
    *,
    account: Account,
    reason: Reason,
    yes: Yes = False,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order it, after a question."""
    with open_order_desk(context, actor, order_id) as desk:
        found = _find(desk, account)
        if not (yes or found.erased):
            confirm(f"Erase everything about {found.reference} ({found.account_id}) for good?")
        erased = desk.order(ERASE, found.account_id, NoFields(), reason)
        who = desk.actor
    lines = [f"Account {erased.account_id} is erased, with {erased.details:,} details of the audit log."]
    print_result({**asdict(erased), "actor": who}, lines, as_json=as_json)


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


@help_page(
    "octy accounts list",
    "octy accounts list --json | jq -r '.accounts[].reference'",
    json=LIST_JSON,
)
def list_all(context: typer.Context, limit: Limit = 200, page: PageNumber = 1, as_json: AsJson = False) -> None:
    """Show one line for each account."""
    part = ListPage(limit, page)
    with open_desk(context) as desk:
        found = desk.read(LIST_ACCOUNTS, ListPart(part.row_limit, part.offset))
    empty = "There are no accounts yet. Create one with `octy accounts add`."
    print_list("accounts", found.rows, found.total, part, view.list_table, empty=empty, as_json=as_json)


@help_page(
    "octy accounts show acme",
    "octy accounts show acme --limit 0",
    more="To find its reference, use `octy find` with an address, a name, or an id from a mail.",
    json=SHOW_JSON,
)
def show_one(
    context: typer.Context,
    account: Account,
    limit: Annotated[
        int, typer.Option(min=0, help="Show at most this many notices and mails, the newest; 0: all.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Show one account."""
    with open_desk(context) as desk:
        report = desk.read(SHOW_ACCOUNT, ShowAccount(account, limit or None))
    if as_json:
        print_json(report)
        return
    print_page(*view.page(report))
    print_omitted(
        ("notices", len(report.notices), report.notices_total), ("mails", len(report.mails), report.mails_total)
    )
