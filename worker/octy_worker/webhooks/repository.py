"""The `webhook` table: an attempt is recorded before it is made and completed after it; lists; retries by staff.

`octy_middleware.domain.webhook_events` writes the rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Webhook
from octy_middleware.domain.webhook_events import redeliver
from octy_middleware.errors import InvalidInputError
from octy_middleware.states import WebhookState
from octy_worker.access.orders import check_staff
from octy_worker.errors import RefusedError
from octy_worker.formatting import format_ids
from octy_worker.webhooks.failures import FailureReason
from octy_worker.webhooks.signing import WebhookMessage

SECRET_OVERLAP = timedelta(days=1)
"""How long both the previous and the new secret of an account sign."""


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """The state of a webhook. Pending: `message` is to be sent now."""

    state: WebhookState
    code: str = ""
    message: WebhookMessage | None = None


@dataclass(frozen=True, slots=True)
class WebhookLine:
    """One webhook of a list for support staff."""

    id: str
    account: str
    event: str
    key: str
    state: str
    delivery_attempts: int
    last_error: str
    created_at: datetime
    sent_at: datetime | None


def begin_attempt(session: Session, webhook_id: str, now: float) -> WebhookStatus:
    """Record an attempt and return the state.

    The message goes to the account's current `webhook_url`: a customer who corrects it gets the pending webhooks.
    """
    webhook = session.get_one(Webhook, webhook_id)
    if webhook.state == WebhookState.PENDING:
        account = session.get_one(Account, webhook.account_id)
        if account.webhook_url:
            webhook.delivery_attempts += 1
            session.add(webhook)
            return WebhookStatus(WebhookState.PENDING, message=_message(webhook, account, now))
        webhook.state, webhook.last_error = WebhookState.SKIPPED, FailureReason.NO_URL
        session.add(webhook)
    return _status(webhook)


def _message(webhook: Webhook, account: Account, now: float) -> WebhookMessage:
    return WebhookMessage(
        webhook_id=webhook.id,
        event=webhook.event,
        at=webhook.created_at,
        account_id=account.id,
        url=account.webhook_url,
        data=webhook.data,
        secret_versions=active_secret_versions(account, now),
    )


def active_secret_versions(account: Account, now: float) -> tuple[int, ...]:
    """Return the versions of the account's secret that sign now, the newest first."""
    newest, changed = account.webhook_secret_version, account.webhook_secret_changed_at
    both = changed is not None and utc(now) < changed + SECRET_OVERLAP
    return (newest, newest - 1) if both else (newest,)


def rotate_secret(session: Session, account: Account, *, actor: str, reason: str, now: float) -> None:
    """Give the account a new secret. The previous one also signs for `SECRET_OVERLAP`.

    Raises RefusedError while an earlier rotation is still under way.
    """
    check_staff(actor, reason)
    if len(active_secret_versions(account, now)) > 1:
        changed = account.webhook_secret_changed_at
        raise RefusedError(f"the secret was changed at {changed:%Y-%m-%d %H:%M} UTC, less than a day ago")
    account.webhook_secret_version += 1
    account.webhook_secret_changed_at = utc(now)
    session.add(account)


def complete(session: Session, webhook_id: str, state: WebhookState, now: float, *, code: str = "") -> WebhookStatus:
    """Record the result of an attempt: sent, failed permanently, skipped, or still pending with the error's code."""
    webhook = session.get_one(Webhook, webhook_id)
    # A concurrent attempt may have been faster, or the retries may have ended meanwhile.
    if webhook.state == WebhookState.PENDING or (state is WebhookState.SENT and webhook.state != WebhookState.SENT):
        webhook.state, webhook.last_error = state, code
        webhook.sent_at = utc(now) if state is WebhookState.SENT else None
        session.add(webhook)
    return _status(webhook)


def mark_failed(session: Session, webhook_id: str) -> WebhookStatus:
    """Record that a pending webhook is not retried any more; its last error stays."""
    webhook = session.get_one(Webhook, webhook_id)
    if webhook.state == WebhookState.PENDING:
        webhook.state = WebhookState.FAILED
        session.add(webhook)
    return _status(webhook)


def _status(webhook: Webhook) -> WebhookStatus:
    return WebhookStatus(WebhookState(webhook.state), webhook.last_error)


def list_webhooks(
    session: Session,
    *,
    account_id: str | None = None,
    failed: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> tuple[WebhookLine, ...]:
    """Return webhooks, newest first; with `failed` only failed ones."""
    query = select(Webhook, Account.reference).join(Account, col(Account.id) == Webhook.account_id)
    query = query.where(*_conditions(account_id, failed=failed)).order_by(col(Webhook.id).desc())
    return tuple(
        WebhookLine(
            id=webhook.id,
            account=reference,
            event=webhook.event,
            key=webhook.key,
            state=webhook.state,
            delivery_attempts=webhook.delivery_attempts,
            last_error=webhook.last_error,
            created_at=webhook.created_at,
            sent_at=webhook.sent_at,
        )
        for webhook, reference in session.exec(query.limit(limit).offset(offset))
    )


def count_webhooks(session: Session, *, account_id: str | None = None, failed: bool = False) -> int:
    """Return the number of all webhooks of `list_webhooks`."""
    which = _conditions(account_id, failed=failed)
    return session.exec(select(func.count()).select_from(Webhook).where(*which)).one()


def _conditions(account_id: str | None, *, failed: bool) -> list[Any]:
    of_account = [] if account_id is None else [Webhook.account_id == account_id]
    return [*of_account, Webhook.state == WebhookState.FAILED] if failed else of_account


def retry(session: Session, ids: Collection[str], *, actor: str, reason: str, now: float) -> Sequence[str]:
    """Retry failed or skipped webhooks, all or none; return their ids.

    Raises InvalidInputError for an id that there is not, RefusedError for one that is sent or pending.
    """
    check_staff(actor, reason)
    wanted = sorted(set(ids))
    existing = session.exec(select(Webhook.id).where(col(Webhook.id).in_(wanted)))
    if unknown := sorted(set(wanted).difference(existing)):
        raise InvalidInputError(f"there is no webhook {format_ids(unknown)} → `octy webhooks list` shows all")
    if others := [webhook_id for webhook_id in wanted if not redeliver(session.connection(), webhook_id, now)]:
        raise RefusedError(f"not failed, so delivered or still retried: {format_ids(others)}")
    return wanted
