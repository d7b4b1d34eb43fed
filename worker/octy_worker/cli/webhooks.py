"""`octy webhooks`: what can be typed, with its help.

Here: options and the order of steps. Not here: SQL (`webhooks.journal`), the POST (`webhooks.courier`), tables
(`views`).
"""
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

app = typer.Typer(no_args_is_help=True, help="Events that customers' own servers are told.")

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
        more="A pending one is tried by the worker, after 1 s, 2 s, 4 s and so on, at least once an hour, for 3 days; "
        "then it has failed. A skipped one had nowhere to go.",
        json=LIST_JSON,
    ),
)
def list_some(
    context: typer.Context,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were given up.")] = False,
    account: AccountFilter = None,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line a webhook."""
    from octy_worker.cli.views import webhooks as view
    from octy_worker.reports.queries import account_of
    from octy_worker.webhooks.repository import count_webhooks, list_webhooks

    part = ListPage(limit, page)
    with open_database(context) as database, database.read_session() as session:
        owner = None if account is None else account_of(session, account).id
        found = list_webhooks(session, account_id=owner, failed=failed, limit=part.most, offset=part.offset)
        total = count_webhooks(session, account_id=owner, failed=failed)
    empty = "No webhook has failed." if failed else "There are no webhooks."
    print_list("webhooks", found, total, part, view.list_table, empty=empty, as_json=as_json)


@app.command(
    "retry",
    help=help_text(
        "Have webhooks that failed or were skipped tried again.",
        "octy webhooks retry 01890c2e-… --reason 'their server is back'",
        more="Each gets a fresh life, with the same webhook-id as before. All that are named are retried, or, when one "
        "of them is not at its end, none.",
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
    """Order new tries."""
    from octy_worker.staff.audit import record
    from octy_worker.webhooks import repository

    who = staff_actor(context, actor)
    with open_database(context) as database:
        retried = repository.retry(database, ids, actor=who, reason=reason, now=now())
    names = ", ".join(retried)
    record("webhooks_retried", who, reason=reason, webhooks=names)
    with printing_result(f"webhooks {names} are to be tried again"):
        if as_json:
            print_json({"retried": retried, "actor": who})
        else:
            print_lines(f"To be tried again: {names}.", "To see what becomes of them: octy webhooks list")


@app.command(
    help=help_text(
        "Print the secret with which an account checks its webhooks. It is a secret: print it to hand it over.",
        "octy webhooks secret acme",
        more="It is derived from the newest of OCTY_WEBHOOK_KEYS, so it stays the same until those are rotated, or "
        "the account's own by `octy webhooks rotate-secret`. Hand "
        "it to the customer on a way that you trust, and to nobody else: whoever has it can forge events. It opens "
        "nothing of the API. That it was shown is audited.",
    )
)
def secret(context: typer.Context, account: _Account, actor: Actor = None) -> None:
    """Print it, and nothing else, so that it can be piped."""
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
        "octy webhooks rotate-secret acme --reason 'their secret stood in a log'",
        more="For 24 hours both the previous secret and the new one sign each event, so that the customer can change "
        "without losing any. `octy webhooks secret` then prints the new one.",
        json=ROTATE_JSON,
    ),
)
def rotate_one(
    context: typer.Context, account: _Account, *, reason: Reason, actor: Actor = None, as_json: AsJson = False
) -> None:
    """Order the rotation."""
    from octy_middleware.clock import utc
    from octy_worker.cli.output import format_time
    from octy_worker.staff.audit import record
    from octy_worker.webhooks import repository

    who = staff_actor(context, actor)
    with open_database(context) as database:
        rotated = repository.rotate_secret(database, account, actor=who, reason=reason, now=now())
    ends = now() + repository.SECRET_OVERLAP.total_seconds()
    record("webhook_secret_rotated", who, reason=reason, account=rotated.id)
    with printing_result(f"the webhook secret of {rotated.reference} was rotated"):
        if as_json:
            print_json({"account": rotated.id, "version": rotated.webhook_secret_version, "actor": who})
        else:
            print_lines(
                f"New webhook secret for {rotated.reference}. The previous one signs until {format_time(utc(ends))}.",
                f"To hand it over: octy webhooks secret {rotated.reference}",
            )


@app.command(
    "test",
    help=help_text(
        "Send an account's server a signed test event now, and say how it ended.",
        "octy webhooks test acme",
        "octy webhooks test acme --json",
        more="From this machine, by the same rules as the worker's: run it where the worker runs. Exit code 0: the "
        "server answered 2xx. 3: nothing was sent, for the reason printed. 1: it did not arrive.",
        json=TEST_JSON,
    ),
)
def send_test(context: typer.Context, account: _Account, actor: Actor = None, as_json: AsJson = False) -> None:
    """Post it once."""
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
    ended = client.post(message)
    record("webhook_tested", staff_actor(context, actor), account=message.account_id, ended=ended.code or "delivered")
    if as_json:
        told = {"webhook_id": message.webhook_id, "delivered": ended.reason is None, "fault": ended.code}
        print_json({**told, "status": ended.status})
    elif ended.reason is None:
        print_lines(f"Delivered: {ended.description}. The event was webhook.test, its webhook-id {message.webhook_id}.")
    _raise(ended)


def _settings(context: typer.Context) -> "WebhookSettings":
    """Return what this host knows of webhooks; no other key is asked for."""
    from octy_worker.settings import WebhookSettings

    settings = WebhookSettings.from_environment(variables_of(context))
    if settings.webhook_keys is None:
        raise UsageError("OCTY_WEBHOOK_KEYS is not set, so webhooks are off", "`octy secrets` prints a fresh one")
    return settings


def _raise(ended: "PostResult") -> None:
    from octy_worker.webhooks.failures import BLOCKED, FailureReason

    if ended.reason is None:
        return
    if ended.reason is FailureReason.NO_URL:
        raise UsageError(ended.description, "the customer sets it, as contact data")
    if ended.reason in BLOCKED:
        raise RefusedError(f"nothing was sent: {ended.description}", "docs/webhooks.md says which places are taken")
    to_do = "" if ended.reason is FailureReason.GONE else "the worker would try again for 3 days"
    raise CommandError(f"not delivered: {ended.description}", to_do)
