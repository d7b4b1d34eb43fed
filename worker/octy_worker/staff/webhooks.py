"""What support staff does about webhooks: retry, reveal or rotate a secret, send a test event. Each is audited."""

from collections.abc import Sequence

from octy_middleware.clock import Clock, utc, uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import Account
from octy_middleware.domain.webhook_events import WebhookEvent
from octy_middleware.keys.keychain import Keychain
from octy_worker.identity import check_registered_keys
from octy_worker.reports.queries import account_of
from octy_worker.settings import WebhookSettings
from octy_worker.staff.audit import record
from octy_worker.webhooks import repository
from octy_worker.webhooks.client import WebhookClient
from octy_worker.webhooks.failures import PostResult
from octy_worker.webhooks.signing import Signer, WebhookMessage


def retry(database: Database, ids: Sequence[str], *, actor: str, reason: str, now: float) -> Sequence[str]:
    """Retry webhooks that failed or were skipped; return their ids. If one of them is neither, none is retried."""
    with database.write_session() as session:
        retried = repository.retry(session, ids, actor=actor, reason=reason, now=now)
    record("webhooks_retried", actor, reason=reason, webhooks=", ".join(retried))
    return retried


def reveal_secret(database: Database, settings: WebhookSettings, reference: str, *, actor: str) -> str:
    """Return the secret with which an account verifies its webhooks."""
    keys = _registered_keys(database, settings)
    with database.read_session() as session:
        account = account_of(session, reference)
        account_id, version = account.id, account.webhook_secret_version
    record("webhook_secret_shown", actor, account=account_id)
    return Signer(keys).secret(account_id, version)


def rotate_secret(database: Database, reference: str, *, actor: str, reason: str, now: float) -> Account:
    """Give one account a new secret; the previous one is used for `repository.SECRET_OVERLAP` more."""
    with database.write_session() as session:
        rotated = repository.rotate_secret(session, reference, actor=actor, reason=reason, now=now)
    record("webhook_secret_rotated", actor, reason=reason, account=rotated.id)
    return rotated


def send_test_event(
    database: Database, settings: WebhookSettings, reference: str, *, actor: str, clock: Clock
) -> tuple[str, PostResult]:
    """Post one test event to an account's server; return its webhook-id and the result."""
    _registered_keys(database, settings)
    with database.read_session() as session:
        account = account_of(session, reference)
        message = WebhookMessage(
            uuid7(clock()),
            WebhookEvent.TEST,
            utc(clock()),
            account.id,
            account.webhook_url,
            {"account_id": account.id},
            repository.active_secret_versions(account, clock()),
        )
    delivery = WebhookClient(settings, clock).post(message)
    record("webhook_tested", actor, account=message.account_id, ended=delivery.code or "delivered")
    return message.webhook_id, delivery


def _registered_keys(database: Database, settings: WebhookSettings) -> Keychain:
    """Return the keys that sign webhooks. Raises KeyMismatchError when the database is used with others."""
    assert settings.webhook_keys is not None
    check_registered_keys(database, "webhook_keys", settings.webhook_keys)
    return settings.webhook_keys
