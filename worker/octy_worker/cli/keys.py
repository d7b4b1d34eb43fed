"""`octy keys`: options and help texts."""

from dataclasses import asdict
from typing import Annotated

import typer

from octy_worker.access.orders import check_staff
from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import (
    AccountFilter,
    AccountOption,
    Actor,
    AsJson,
    Leaked,
    Limit,
    ListPage,
    OrderId,
    PageNumber,
    Reason,
    Yes,
)
from octy_worker.cli.output import (
    confirm,
    print_json,
    print_list,
    print_note,
    print_omitted,
    print_page,
    print_result,
)
from octy_worker.cli.views import key_delivery as delivery_view
from octy_worker.cli.views import keys as view
from octy_worker.staff.acts import REGENERATE, REVOKE, NewKeys
from octy_worker.staff.operations import NoFields
from octy_worker.staff.outputs import RevocationResult
from octy_worker.staff.queries import FIND_ACCOUNT, LIST_KEYS, SHOW_KEY, AccountRef, ListKeys, ShowKey

_Key = Annotated[str, typer.Argument(metavar="PUBLIC_KEY", help="The complete public key.")]

LIST_JSON = (
    "keys[public_key, account, state, cause, created_at, activated_at, retire_at, retired_at, first_used_at, "
    "last_used_at, quiet_until, exposed_at, replaced_by], more, total"
)
SHOW_JSON = (
    "pair{as in list}, open_incident, since, uses[source, outcome, count, last_at], uses_total, "
    "late_uses[public_key, retired_at, used_by[source, count, user_agent, last_at]], late_uses_total"
)
REGENERATE_JSON = (
    "account, regeneration_id, joined, leaked, old_public_key, "
    "delivery{regeneration_id, status, mail_error, link_expires_at, collected_at}"
)
REVOKE_JSON = "public_key, account, changed, delivery_stopped, incident_id, live_pairs"


@help_page("octy keys list", "octy keys list --account acme --json", json=LIST_JSON)
def list_some(
    context: typer.Context,
    account: AccountFilter = None,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line for each key pair."""
    part = ListPage(limit, page)
    with open_desk(context) as desk:
        found = desk.read(LIST_KEYS, ListKeys(account, part.row_limit, part.offset))
    print_list("keys", found.rows, found.total, part, view.list_table, empty="There are no key pairs.", as_json=as_json)


@help_page(
    "octy keys show pk_4fT…",
    "octy keys show pk_4fT… --limit 0",
    more="`octy find` finds a complete public key by its beginning.",
    json=SHOW_JSON,
)
def show_one(
    context: typer.Context,
    public_key: _Key,
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many sources, the most frequent; 0: all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show one key pair; its secret is not stored."""
    with open_desk(context) as desk:
        report = desk.read(SHOW_KEY, ShowKey(public_key, limit or None))
    if as_json:
        print_json(report)
        return
    print_page(*view.page(report))
    print_omitted(
        ("uses", len(report.uses), report.uses_total),
        ("uses after its end", len(report.late_uses), report.late_uses_total),
    )


@help_page(
    "octy keys regenerate --account acme --reason 'asked for, ticket 4711'",
    "octy keys regenerate --account acme --leaked --reason 'in a public repo'",
    more="The customer gets a mail with a link to the new key pair, or with both keys if the worker has "
    "OCTY_DELIVER=mail. The old key pair is valid until 24 hours after the new one was collected (with "
    "OCTY_DELIVER=mail: after the mail was accepted); with --leaked it ends at once. Refused while an incident is "
    "open for the key pair: decide the incident. If new keys are ordered already, the command joins that order and "
    "shows its state: being sent, rejected by the mail server, expired or collected.",
    json=REGENERATE_JSON,
)
def regenerate(
    context: typer.Context,
    *,
    account: AccountOption,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    leaked: Leaked = False,
    as_json: AsJson = False,
) -> None:
    """Order a new key pair."""
    with open_order_desk(context, actor, order_id) as desk:
        account_id = desk.read(FIND_ACCOUNT, AccountRef(account)).account_id
        done_by = desk.order(REGENERATE, account_id, NewKeys(leaked), reason)
    ordered, delivery = done_by.ordered, done_by.delivery
    new = f"New keys for {ordered.account} are ordered. The worker sends the mail to the customer."
    lines = [
        *(delivery_view.joined_lines(ordered.account, delivery) if ordered.joined else [new]),
        _old_pair_line(ordered.old_public_key, leaked=leaked),
        f"To see its progress: octy accounts show {ordered.account}",
    ]
    print_result({**asdict(ordered), "delivery": delivery}, lines, as_json=as_json)


def _old_pair_line(old_public_key: str | None, *, leaked: bool) -> str:
    if old_public_key is None:
        return "There is no old key pair to replace."
    if leaked:
        return f"The old key pair {old_public_key} is revoked."
    return f"The old key pair {old_public_key} is valid until the new one is collected, and for an overlap after that."


@help_page(
    "octy keys revoke pk_4fT… --reason 'contract ended'",
    "octy keys revoke pk_4fT… --reason 'contract ended' --yes --json",
    more="All requests with it are refused within one second. The customer is not notified. To also send a new key "
    "pair, use `octy keys regenerate`, with --leaked if the old one must end at once.",
    json=REVOKE_JSON,
)
def revoke(
    context: typer.Context,
    *,
    public_key: _Key,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Revoke a key pair."""
    with open_order_desk(context, actor, order_id) as desk:
        check_staff(desk.actor, reason)
        pair = desk.read(SHOW_KEY, ShowKey(public_key, 1)).pair
        if not yes:
            print_note(f"{pair.public_key} of {pair.account} is {pair.state}. All requests with it will fail.")
            confirm("Revoke it for good?")
        revoked = desk.order(REVOKE, public_key, NoFields(), reason)
    print_result(revoked, _outcome(revoked), as_json=as_json)


def _outcome(revoked: RevocationResult) -> list[str]:
    if not revoked.changed:
        return [f"{revoked.public_key} of {revoked.account} was retired already; nothing was changed."]
    lines = [f"{revoked.public_key} of {revoked.account} is revoked: all apps refuse it within one second."]
    if revoked.delivery_stopped:
        lines.append("The customer had not collected it yet; the link in the mail no longer works.")
    if revoked.incident_id is not None:
        lines.append(f"Incident {revoked.incident_id} is still open; its timeline records the revocation.")
    elif revoked.live_pairs == 0:
        lines.append(
            f"The account has no other key pair. For a new one: octy keys regenerate --account {revoked.account} "
            "--reason …"
        )
    return lines
