"""Webhooks for workflows: one order, one event, however often it is asked for.

Here: the try's row, the POST, the result's row, in this order and each in its own transaction. Not here: what a POST is
(`octy_worker.webhooks`), how often it is tried (`octy_workflows.webhook`).

A worker that is killed between the POST and its row posts again, with the same `webhook-id`: receivers drop what they
know. Logs and faults hold ids and codes: no URL, no address.
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
HELD_BACK = "WebhookHeldBack"  # by the account's share of this worker's slots
_LONGEST_PAUSE = 3600.0  # seconds between two tries
_LONGEST_WAIT = 60.0  # seconds for a place in the share
_log = logging.getLogger("octy.webhooks")
_ENDS = {None: WebhookState.SENT, FailureReason.GONE: WebhookState.FAILED, FailureReason.OFF: WebhookState.SKIPPED}


class Deliverer(Protocol):
    """What takes a parcel to its server."""

    def post(self, message: WebhookMessage, *, first_try: bool = False) -> PostResult:
        """Post it once; the first try is a short one."""


class WebhookActivities:
    """Posts what workflows order. `clock` gives the time of rows."""

    def __init__(
        self, database: Database, client: Deliverer, clock: Clock, limiter: ConcurrencyLimiter | None = None
    ) -> None:
        self._database = database
        self._limiter = limiter or ConcurrencyLimiter(SLOTS)
        self._client = client
        self._clock = clock

    @activity.defn(name="post_webhook", no_thread_cancel_exception=True)
    def post_webhook(self, order: WebhookStepInput) -> WebhookStepResult:
        """Write the try down, post the event, and note the result. What may go better next time raises."""
        with self._database.read_session() as session:
            account_id, tries = _of_account(session, order)
        with self._limiter.slot(account_id, first_try=not tries) as granted:
            if not granted:
                raise _held_back(order)
            return self._post(order, account_id, tries)

    def _post(self, order: WebhookStepInput, account_id: str, tries: int) -> WebhookStepResult:
        with self._database.write_session() as session:
            status = _known(begin_attempt(session, order.webhook_id, self._clock()), order)
        if status.message is None:
            return _report(status)
        delivery = self._client.post(status.message, first_try=not tries)
        self._limiter.record_result(account_id, succeeded=delivery.reason is None)
        state = _ENDS.get(delivery.reason, WebhookState.PENDING)
        with self._database.write_session() as session:
            stands = complete(session, order.webhook_id, state, self._clock(), code=delivery.code)
        _tell(order.webhook_id, delivery)
        if stands.state is WebhookState.PENDING:
            delay = timedelta(seconds=min(_LONGEST_PAUSE, 2.0 ** min(tries, 12)))  # Temporal counts what was held back
            why = f"webhook {order.webhook_id}: {delivery.code}"
            raise ApplicationError(why, type=TRANSIENT, next_retry_delay=delay)
        return _report(stands)

    @activity.defn(name="give_up_webhook", no_thread_cancel_exception=True)
    def give_up_webhook(self, order: WebhookStepInput) -> WebhookStepResult:
        """Note that it is tried no more, and return the state that stands: the last try may have arrived."""
        with self._database.write_session() as session:
            return _report(_known(mark_failed(session, order.webhook_id), order))


def _of_account(session: Session, order: WebhookStepInput) -> tuple[str, int]:
    """Return whose event it is, and how often it was tried."""
    webhook = session.get(Webhook, order.webhook_id)
    return ("", 0) if webhook is None else (webhook.account_id, webhook.tries)


def _held_back(order: WebhookStepInput) -> ApplicationError:
    """Return what has Temporal ask again soon, later each time: the account's share of the slots is taken."""
    attempt = activity.info().attempt if activity.in_activity() else 1
    delay = timedelta(seconds=min(_LONGEST_WAIT, 2.0 ** min(attempt, 6)))
    return ApplicationError(f"webhook {order.webhook_id}: held-back", type=HELD_BACK, next_retry_delay=delay)


def _known(status: WebhookStatus | None, order: WebhookStepInput) -> WebhookStatus:
    if status is None:
        raise missing_subject_error("webhook", order.webhook_id)
    return status


def _report(status: WebhookStatus) -> WebhookStepResult:
    return WebhookStepResult(status.state, status.code)


def _tell(webhook_id: str, delivery: PostResult) -> None:
    if delivery.reason is None:
        _log.info("webhook %s: sent", webhook_id)
    else:
        _log.warning("webhook %s: %s", webhook_id, delivery.code)
