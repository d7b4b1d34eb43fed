"""`octy webhooks`: options and help texts."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Account, AccountFilter, Actor, AsJson, Limit, ListPage, OrderId, PageNumber, Reason
from octy_worker.cli.output import format_time, print_json, print_lines, print_list, print_result, table
from octy_worker.errors import CommandError, RefusedError, UsageError
from octy_worker.staff.acts import (
    RETRY_WEBHOOKS,
    ROTATE_WEBHOOK_SECRET,
    SHOW_WEBHOOK_SECRET,
    TEST_WEBHOOK,
    Webhooks,
)
from octy_worker.staff.operations import NoFields
from octy_worker.staff.queries import FIND_ACCOUNT, LIST_WEBHOOKS, AccountRef, ListWebhooks
from octy_worker.webhooks.failures import BLOCKED, FailureReason, PostResult
from octy_worker.webhooks.repository import WebhookLine

LIST_JSON = (
    "webhooks[id, account, event, key, state, delivery_attempts, last_error, created_at, sent_at], more, total; "
    "state is pending, sent, failed or skipped"
)
RETRY_JSON = "retried, actor"
ROTATE_JSON = "account, version, actor"
TEST_JSON = "webhook_id, delivered, error, status"


@help_page(
    "octy webhooks list",
    "octy webhooks list --failed --account acme --json",
    more="The worker retries a pending webhook after 1 s, 2 s, 4 s and so on, at least once an hour, for 3 days; "
    "then it has failed. A skipped one had no URL.",
    json=LIST_JSON,
)
def list_some(
    context: typer.Context,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed for good.")] = False,
    account: AccountFilter = None,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line for each webhook."""
    part = ListPage(limit, page)
    with open_desk(context) as desk:
        found = desk.read(LIST_WEBHOOKS, ListWebhooks(account, failed, part.row_limit, part.offset))
    empty = "No webhook has failed." if failed else "There are no webhooks."
    print_list("webhooks", found.rows, found.total, part, _table, empty=empty, as_json=as_json)


@help_page(
    "octy webhooks retry 01890c2e-… --reason 'their server is back'",
    more="Each is retried for another 3 days, with the same webhook-id. If one of the ids is still pending or was "
    "sent, none is retried.",
    json=RETRY_JSON,
)
def retry_some(
    context: typer.Context,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of webhooks.", show_default=False)],
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Reset the attempts."""
    with open_order_desk(context, actor, order_id) as desk:
        retried, who = desk.order(RETRY_WEBHOOKS, "", Webhooks(tuple(ids)), reason).retried, desk.actor
    names = ", ".join(retried)
    lines = [f"Will be retried: {names}.", "To see the result: octy webhooks list"]
    print_result({"retried": retried, "actor": who}, lines, as_json=as_json)


@help_page(
    "octy webhooks secret acme",
    more="It is derived from the newest key of OCTY_WEBHOOK_KEYS, so it stays the same until those are rotated, or "
    "until `octy webhooks rotate-secret`. Send it to the customer over a channel that you trust, and to no one "
    "else: with it anybody can forge events. It gives no access to the API. The command is audited.",
)
def secret(
    context: typer.Context,
    account: Account,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line.")] = "the customer needs it",
    order_id: OrderId = None,
    actor: Actor = None,
) -> None:
    """Print only the secret, so that it can be piped."""
    with open_order_desk(context, actor, order_id) as desk:
        account_id = desk.read(FIND_ACCOUNT, AccountRef(account)).account_id
        typer.echo(desk.order(SHOW_WEBHOOK_SECRET, account_id, NoFields(), reason).secret)


@help_page(
    "octy webhooks rotate-secret acme --reason 'their secret was in a log'",
    more="For 24 hours events are signed with both the previous and the new secret, so that the customer can "
    "switch without losing events. `octy webhooks secret` prints the new one.",
    json=ROTATE_JSON,
)
def rotate_one(
    context: typer.Context,
    account: Account,
    *,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Rotate the secret."""
    with open_order_desk(context, actor, order_id) as desk:
        account_id = desk.read(FIND_ACCOUNT, AccountRef(account)).account_id
        rotated, who = desk.order(ROTATE_WEBHOOK_SECRET, account_id, NoFields(), reason), desk.actor
    until = format_time(rotated.previous_until)
    lines = [
        f"{rotated.reference} has a new webhook secret. The previous one is used until {until}.",
        f"To print the new one: octy webhooks secret {rotated.reference}",
    ]
    value = {"account": rotated.account_id, "version": rotated.version, "actor": who}
    print_result(value, lines, as_json=as_json)


@help_page(
    "octy webhooks test acme",
    "octy webhooks test acme --json",
    more="It is sent from this machine, by the worker's rules: run it where the worker runs. Exit code 0: the "
    "server responded with 2xx. 3: nothing was sent, for the reason printed. 1: the delivery failed.",
    json=TEST_JSON,
)
def send_test(
    context: typer.Context,
    account: Account,
    *,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Send it once."""
    with open_order_desk(context, actor, order_id) as desk:
        account_id = desk.read(FIND_ACCOUNT, AccountRef(account)).account_id
        tested = desk.order(TEST_WEBHOOK, account_id, NoFields(), "a test event")
    webhook_id, delivery = tested.webhook_id, tested.result
    if as_json:
        result = {"webhook_id": webhook_id, "delivered": delivery.reason is None, "error": delivery.code}
        print_json({**result, "status": delivery.status})
    elif delivery.reason is None:
        print_lines(f"Delivered: {delivery.description}. The event was webhook.test, its webhook-id {webhook_id}.")
    _raise(delivery)


def _raise(delivery: PostResult) -> None:
    if delivery.reason is None:
        return
    if delivery.reason is FailureReason.NO_URL:
        raise UsageError(delivery.description, "the customer can set it as contact data")
    if delivery.reason in BLOCKED:
        raise RefusedError(f"nothing was sent: {delivery.description}", "docs/webhooks.md says which URLs are allowed")
    to_do = "" if delivery.reason is FailureReason.GONE else "the worker would retry for 3 days"
    raise CommandError(f"not delivered: {delivery.description}", to_do)


def _table(found: Sequence[WebhookLine]) -> Table:
    columns = ("id", "account", "event", "state", "attempts", "error", "created", "delivered")
    rows = (
        (
            line.id,
            line.account,
            line.event,
            line.state,
            line.delivery_attempts,
            line.last_error,
            line.created_at,
            line.sent_at,
        )
        for line in found
    )
    return table(columns, rows, no_wrap=("id", "event"))
