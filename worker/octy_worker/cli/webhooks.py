"""`octy webhooks`: options and help texts."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import now, open_database, staff_actor, variables_of
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import AccountFilter, Actor, AsJson, Limit, ListPage, PageNumber, Reason
from octy_worker.cli.output import print_json, print_lines, print_list, printing_result
from octy_worker.errors import CommandError, RefusedError, UsageError

if TYPE_CHECKING:
    from octy_worker.settings import WebhookSettings
    from octy_worker.webhooks.failures import PostResult

app = typer.Typer(no_args_is_help=True, help="Webhooks: events sent to customers' own servers.")

LIST_JSON = (
    "webhooks[id, account, event, key, state, tries, last_error, created_at, sent_at], more, total; "
    "state is pending, sent, failed or skipped"
)
RETRY_JSON = "retried, actor"
ROTATE_JSON = "account, version, actor"
TEST_JSON = "webhook_id, delivered, fault, status"
_Account = Annotated[str, typer.Argument(help="The account's reference or id.")]


@app.command(
    "list",
    help=help_text(
        "List webhooks, newest first.",
        "octy webhooks list",
        "octy webhooks list --failed --account acme --json",
        more="The worker retries a pending webhook after 1 s, 2 s, 4 s and so on, at least once an hour, for 3 days; "
        "then it has failed. A skipped one had no URL.",
        json=LIST_JSON,
    ),
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
    from octy_worker.cli.views import webhooks as view
    from octy_worker.reports.queries import account_of
    from octy_worker.webhooks.repository import count_webhooks, list_webhooks

    part = ListPage(limit, page)
    with open_database(context) as database, database.read_session() as session:
        owner = None if account is None else account_of(session, account).id
        found = list_webhooks(session, account_id=owner, failed=failed, limit=part.row_limit, offset=part.offset)
        total = count_webhooks(session, account_id=owner, failed=failed)
    empty = "No webhook has failed." if failed else "There are no webhooks."
    print_list("webhooks", found, total, part, view.list_table, empty=empty, as_json=as_json)


@app.command(
    "retry",
    help=help_text(
        "Retry webhooks that failed or were skipped.",
        "octy webhooks retry 01890c2e-… --reason 'their server is back'",
        more="Each is retried for another 3 days, with the same webhook-id. If one of the ids is still pending or was "
        "sent, none is retried.",
        json=RETRY_JSON,
    ),
)
def retry_some(
    context: typer.Context,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of webhooks.", show_default=False)],
    reason: Reason,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Reset the attempts."""
    from octy_worker.staff.audit import record
    from octy_worker.webhooks import repository

    who = staff_actor(context, actor)
    with open_database(context) as database, database.write_session() as session:
        retried = repository.retry(session, ids, actor=who, reason=reason, now=now())
    names = ", ".join(retried)
    record("webhooks_retried", who, reason=reason, webhooks=names)
    with printing_result(f"webhooks {names} will be retried"):
        if as_json:
            print_json({"retried": retried, "actor": who})
        else:
            print_lines(f"Will be retried: {names}.", "To see the result: octy webhooks list")


@app.command(
    help=help_text(
        "Print the secret with which an account verifies its webhooks.",
        "octy webhooks secret acme",
        more="It is derived from the newest key of OCTY_WEBHOOK_KEYS, so it stays the same until those are rotated, or "
        "until `octy webhooks rotate-secret`. Send it to the customer over a channel that you trust, and to nobody "
        "else: with it anybody can forge events. It gives no access to the API. The command is audited.",
    )
)
def secret(context: typer.Context, account: _Account, actor: Actor = None) -> None:
    """Print only the secret, so that it can be piped."""
    from octy_worker.identity import check_registered_keys
    from octy_worker.reports.queries import account_of
    from octy_worker.staff.audit import record
    from octy_worker.webhooks.signing import Signer

    keys = _settings(context).webhook_keys
    assert keys is not None
    with open_database(context) as database:
        check_registered_keys(database, "webhook_keys", keys)
        with database.read_session() as session:
            found = account_of(session, account)
            account_id, version = found.id, found.webhook_secret_version
    record("webhook_secret_shown", staff_actor(context, actor), account=account_id)
    typer.echo(Signer(keys).secret(account_id, version))


@app.command(
    "rotate-secret",
    help=help_text(
        "Give one account a new webhook secret; all others keep theirs.",
        "octy webhooks rotate-secret acme --reason 'their secret was in a log'",
        more="For 24 hours events are signed with both the previous and the new secret, so that the customer can "
        "switch without losing events. `octy webhooks secret` prints the new one.",
        json=ROTATE_JSON,
    ),
)
def rotate_one(
    context: typer.Context, account: _Account, *, reason: Reason, actor: Actor = None, as_json: AsJson = False
) -> None:
    """Rotate the secret."""
    from octy_middleware.clock import utc
    from octy_worker.cli.output import format_time
    from octy_worker.staff.audit import record
    from octy_worker.webhooks import repository

    who = staff_actor(context, actor)
    with open_database(context) as database, database.write_session() as session:
        rotated = repository.rotate_secret(session, account, actor=who, reason=reason, now=now())
    ends = now() + repository.SECRET_OVERLAP.total_seconds()
    record("webhook_secret_rotated", who, reason=reason, account=rotated.id)
    until = format_time(utc(ends))
    with printing_result(f"the webhook secret of {rotated.reference} was rotated"):
        if as_json:
            print_json({"account": rotated.id, "version": rotated.webhook_secret_version, "actor": who})
        else:
            print_lines(
                f"{rotated.reference} has a new webhook secret. The previous one is used until {until}.",
                f"To print the new one: octy webhooks secret {rotated.reference}",
            )


@app.command(
    "test",
    help=help_text(
        "Send a signed test event to an account's server now, and show the result.",
        "octy webhooks test acme",
        "octy webhooks test acme --json",
        more="It is sent from this machine, by the worker's rules: run it where the worker runs. Exit code 0: the "
        "server responded with 2xx. 3: nothing was sent, for the reason printed. 1: the delivery failed.",
        json=TEST_JSON,
    ),
)
def send_test(context: typer.Context, account: _Account, actor: Actor = None, as_json: AsJson = False) -> None:
    """Send it once."""
    from octy_middleware.clock import utc, uuid7
    from octy_middleware.domain.webhook_events import WebhookEvent
    from octy_worker.identity import check_registered_keys
    from octy_worker.reports.queries import account_of
    from octy_worker.staff.audit import record
    from octy_worker.webhooks.client import WebhookClient
    from octy_worker.webhooks.repository import active_secret_versions
    from octy_worker.webhooks.signing import WebhookMessage

    settings = _settings(context)
    assert settings.webhook_keys is not None
    client = WebhookClient(settings, now)
    with open_database(context) as database, database.read_session() as session:
        check_registered_keys(database, "webhook_keys", settings.webhook_keys)
        found = account_of(session, account)
        message = WebhookMessage(
            uuid7(now()),
            WebhookEvent.TEST,
            utc(now()),
            found.id,
            found.webhook_url,
            {"account_id": found.id},
            active_secret_versions(found, now()),
        )
    delivery = client.post(message)
    record(
        "webhook_tested", staff_actor(context, actor), account=message.account_id, ended=delivery.code or "delivered"
    )
    if as_json:
        result = {"webhook_id": message.webhook_id, "delivered": delivery.reason is None, "fault": delivery.code}
        print_json({**result, "status": delivery.status})
    elif delivery.reason is None:
        print_lines(
            f"Delivered: {delivery.description}. The event was webhook.test, its webhook-id {message.webhook_id}."
        )
    _raise(delivery)


def _settings(context: typer.Context) -> "WebhookSettings":
    """Return the settings of webhooks; no other keys are needed."""
    from octy_worker.settings import WebhookSettings

    settings = WebhookSettings.from_environment(variables_of(context))
    if settings.webhook_keys is None:
        raise UsageError("OCTY_WEBHOOK_KEYS is not set, so webhooks are off", "set it; `octy secrets` prints new keys")
    return settings


def _raise(delivery: "PostResult") -> None:
    from octy_worker.webhooks.failures import BLOCKED, FailureReason

    if delivery.reason is None:
        return
    if delivery.reason is FailureReason.NO_URL:
        raise UsageError(delivery.description, "the customer can set it as contact data")
    if delivery.reason in BLOCKED:
        raise RefusedError(f"nothing was sent: {delivery.description}", "docs/webhooks.md says which URLs are allowed")
    to_do = "" if delivery.reason is FailureReason.GONE else "the worker would retry for 3 days"
    raise CommandError(f"not delivered: {delivery.description}", to_do)
