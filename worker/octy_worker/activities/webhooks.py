"""Activities that post webhooks: the same input is one event, however often it is called.

Each step is a transaction of its own: record the attempt, post, record the result. A worker that is killed after the
POST posts again, with the same `webhook-id`, by which receivers drop duplicates.
Logs and errors contain ids and codes, but no URL and no address.
"""

import logging
from datetime import timedelta
from typing import Protocol

from sqlmodel import Session
from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.db.models import Webhook
from octy_middleware.states import WebhookState
from octy_worker.domain.missing_subject import missing_subject_error
from octy_worker.webhooks.concurrency import SLOTS, ConcurrencyLimiter
from octy_worker.webhooks.failures import FailureReason, PostResult
from octy_worker.webhooks.repository import WebhookStatus, begin_attempt, complete, mark_failed
from octy_worker.webhooks.signing import WebhookMessage
from octy_workflows.messages import WebhookStepInput, WebhookStepResult

TRANSIENT = "WebhookTransient"
SLOTS_IN_USE = "WebhookSlotsInUse"  # the account uses its share of this worker's slots
_MAX_RETRY_DELAY = 3600.0  # seconds between two attempts
_MAX_SLOT_DELAY = 60.0  # seconds until a slot is asked for again
_log = logging.getLogger("octy.webhooks")
_STATES = {None: WebhookState.SENT, FailureReason.GONE: WebhookState.FAILED, FailureReason.OFF: WebhookState.SKIPPED}


class WebhookPoster(Protocol):
    """Posts a webhook message to its server."""

    def post(self, message: WebhookMessage, *, first_attempt: bool = False) -> PostResult:
        """Post it once; the first attempt has a shorter timeout."""


class WebhookActivities:
    """Posts webhooks for workflows. `clock` gives the time of rows."""

    def __init__(
        self, database: Database, client: WebhookPoster, clock: Clock, limiter: ConcurrencyLimiter | None = None
    ) -> None:
        self._database = database
        self._limiter = limiter or ConcurrencyLimiter(SLOTS)
        self._client = client
        self._clock = clock

    @activity.defn(name="post_webhook", no_thread_cancel_exception=True)
    def post_webhook(self, step: WebhookStepInput) -> WebhookStepResult:
        """Record the attempt, post the event, and record the result. A transient failure raises, and is retried."""
        with self._database.read_session() as session:
            webhook = _load(session, step)
            account_id, attempts = webhook.account_id, webhook.delivery_attempts
        with self._limiter.slot(account_id, first_attempt=not attempts) as granted:
            if not granted:
                raise _slots_in_use(step)
            return self._post(step, account_id, attempts)

    def _post(self, step: WebhookStepInput, account_id: str, attempts: int) -> WebhookStepResult:
        with self._database.write_session() as session:
            status = begin_attempt(session, step.webhook_id, self._clock())
        if status.message is None:
            return _result(status)
        delivery = self._client.post(status.message, first_attempt=not attempts)
        self._limiter.record_result(account_id, succeeded=delivery.reason is None)
        state = _STATES.get(delivery.reason, WebhookState.PENDING)
        with self._database.write_session() as session:
            final = complete(session, step.webhook_id, state, self._clock(), code=delivery.code)
        _log_result(step.webhook_id, delivery)
        if final.state is WebhookState.PENDING:
            # By our count of attempts: Temporal also counts calls without a slot.
            delay = timedelta(seconds=min(_MAX_RETRY_DELAY, 2.0 ** min(attempts, 12)))
            why = f"webhook {step.webhook_id}: {delivery.code}"
            raise ApplicationError(why, type=TRANSIENT, next_retry_delay=delay)
        return _result(final)

    @activity.defn(name="give_up_webhook", no_thread_cancel_exception=True)
    def give_up_webhook(self, step: WebhookStepInput) -> WebhookStepResult:
        """Record that there are no more attempts; return the final state, for the last one may have been accepted."""
        with self._database.write_session() as session:
            _load(session, step)
            return _result(mark_failed(session, step.webhook_id))


def _load(session: Session, step: WebhookStepInput) -> Webhook:
    """Return the webhook, or raise a retryable error: another worker's database may have it."""
    webhook = session.get(Webhook, step.webhook_id)
    if webhook is None:
        raise missing_subject_error("webhook", step.webhook_id)
    return webhook


def _slots_in_use(step: WebhookStepInput) -> ApplicationError:
    """Return a retryable error: the account uses its share of the slots. The delay grows with each call."""
    attempt = activity.info().attempt if activity.in_activity() else 1
    delay = timedelta(seconds=min(_MAX_SLOT_DELAY, 2.0 ** min(attempt, 6)))
    return ApplicationError(f"webhook {step.webhook_id}: slots-in-use", type=SLOTS_IN_USE, next_retry_delay=delay)


def _result(status: WebhookStatus) -> WebhookStepResult:
    return WebhookStepResult(status.state, status.code)


def _log_result(webhook_id: str, delivery: PostResult) -> None:
    if delivery.reason is None:
        _log.info("webhook %s: sent", webhook_id)
    else:
        _log.warning("webhook %s: %s", webhook_id, delivery.code)
