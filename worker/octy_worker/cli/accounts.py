"""`octy accounts`: options and help texts."""

from dataclasses import asdict
from typing import Annotated

import typer

from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Limit, ListPage, OrderId, PageNumber, Reason
from octy_worker.cli.output import print_json, print_list, print_omitted, print_page, print_result
from octy_worker.cli.views import accounts as view
from octy_worker.staff.acts import ADD_ACCOUNT, CHANGE_ACCOUNT, ContactAddress, NewAccount
from octy_worker.staff.queries import (
    FIND_ACCOUNT,
    LIST_ACCOUNTS,
    SHOW_ACCOUNT,
    AccountRef,
    ListPart,
    ShowAccount,
)

_NEW = "a new customer"
ADD_JSON = "account_id, regeneration_id, reference, contact_email_address"
CHANGE_JSON = "account_id, account, contact_email_address, security_address, takes_effect_at, keys_wait"
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
    contact = {
        "contact_email_address": email,
        "contact_name": name,
        "contact_surname": surname,
        "webhook_url": webhook,
        "authenticated_id_key": id_key,
    }
    own_id, address = reference.strip(), email.strip()
    with open_order_desk(context, actor, order_id) as desk:
        added = desk.order(ADD_ACCOUNT, "", NewAccount(reference, **contact), _NEW)
    mailed = "The worker mails the public key, and a link that shows the secret once"
    lines = [
        f"Account {own_id} is created ({added.account_id}).",
        f"Its first key pair is ordered. {mailed}, to {address}.",
        f"To see its progress: octy accounts show {own_id}",
    ]
    done = f"account {own_id} is created ({added.account_id}) and its first key pair is ordered"
    print_result(done, {**asdict(added), "reference": own_id, "contact_email_address": address}, lines, as_json=as_json)


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
    account: Annotated[str, typer.Argument(metavar="REFERENCE", help="The account's reference or id.")],
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
    done = f"the contact address of {changed.account} is changed"
    print_result(done, changed, view.changed_lines(changed), as_json=as_json)


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
    reference: Annotated[str, typer.Argument(help="The account's reference or id.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Show at most this many notices and mails, the newest; 0: all.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Show one account."""
    with open_desk(context) as desk:
        report = desk.read(SHOW_ACCOUNT, ShowAccount(reference, limit or None))
    if as_json:
        print_json(report)
        return
    print_page(*view.page(report))
    print_omitted(
        ("notices", len(report.notices), report.notices_total), ("mails", len(report.mails), report.mails_total)
    )
