"""What support staff does about webhooks: retry, reveal or rotate a secret, send a test event. Each is audited."""

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import Account
from octy_middleware.domain.webhook_events import WebhookEvent
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.orders import Order
from octy_worker.errors import UsageError
from octy_worker.identity import check_registered_keys
from octy_worker.reports.queries import account_of
from octy_worker.settings import WebhookSettings
from octy_worker.staff.acts import Webhooks
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import NoFields
from octy_worker.staff.outputs import RetriedWebhooks, RotatedSecret, WebhookSecret, WebhookTest
from octy_worker.webhooks import repository
from octy_worker.webhooks.client import WebhookClient
from octy_worker.webhooks.signing import Signer, WebhookMessage


def retry(context: StaffContext, order: Order, fields: Webhooks) -> RetriedWebhooks:
    """Retry webhooks that failed or were skipped; return their ids. If one of them is neither, none is retried."""
    with context.database.write_session() as session:
        context.use(session, order)
        ids = repository.retry(session, fields.ids, actor=order.actor, reason=order.reason, now=context.clock())
        retried = context.keep(session, order, RetriedWebhooks(tuple(ids)))
    record("webhooks_retried", order.actor, reason=order.reason, webhooks=", ".join(ids))
    return retried


def reveal_secret(context: StaffContext, order: Order, _fields: NoFields) -> WebhookSecret:
    """Return the secret with which an account verifies its webhooks."""
    _, keys = _settings_and_keys(context)
    with context.database.write_session() as session:
        account = account_of(session, order.subject)
        account_id, version = account.id, account.webhook_secret_version
        context.use(session, order)
    record("webhook_secret_shown", order.actor, account=account_id)
    return WebhookSecret(Signer(keys).secret(account_id, version))


def rotate_secret(context: StaffContext, order: Order, _fields: NoFields) -> RotatedSecret:
    """Give one account a new secret; the previous one is used for `repository.SECRET_OVERLAP` more."""
    now = context.clock()
    with context.database.write_session() as session:
        context.use(session, order)
        account = account_of(session, order.subject)
        repository.rotate_secret(session, account, actor=order.actor, reason=order.reason, now=now)
        until = utc(now) + repository.SECRET_OVERLAP
        rotated = RotatedSecret(account.id, account.reference, account.webhook_secret_version, until)
        context.keep(session, order, rotated)
    record("webhook_secret_rotated", order.actor, reason=order.reason, account=rotated.account_id)
    return rotated


def send_test_event(context: StaffContext, order: Order, _fields: NoFields) -> WebhookTest:
    """Post one test event to an account's server; return its webhook-id and the result."""
    (settings, _), now = _settings_and_keys(context), context.clock()
    with context.database.write_session() as session:
        account = account_of(session, order.subject)
        message = _test_message(account, now)
        context.use(session, order)
    delivery = WebhookClient(settings, context.clock).post(message)
    record("webhook_tested", order.actor, account=message.account_id, ended=delivery.code or "delivered")
    with context.database.write_session() as session:
        return context.keep(session, order, WebhookTest(message.webhook_id, delivery))


def _test_message(account: Account, now: float) -> WebhookMessage:
    return WebhookMessage(
        uuid7(now),
        WebhookEvent.TEST,
        utc(now),
        account.id,
        account.webhook_url,
        {"account_id": account.id},
        repository.active_secret_versions(account, now),
    )


def _settings_and_keys(context: StaffContext) -> tuple[WebhookSettings, Keychain]:
    """Return the settings of webhooks and the keys that sign them; no other keys are needed.

    Raises UsageError where webhooks are off, and KeyMismatchError when the database is used with other keys.
    """
    settings = context.settings(WebhookSettings)
    if settings.webhook_keys is None:
        raise UsageError("OCTY_WEBHOOK_KEYS is not set, so webhooks are off", "set it; `octy secrets` prints new keys")
    check_registered_keys(context.database, "webhook_keys", settings.webhook_keys)
    return settings, settings.webhook_keys
