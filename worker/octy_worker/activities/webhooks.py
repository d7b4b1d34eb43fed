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
from octy_worker.domain.subjects_missing import subject_missing
from octy_worker.webhooks.faults import Delivery, Fault
from octy_worker.webhooks.repository import Standing, begin, complete, give_up
from octy_worker.webhooks.shares import SLOTS, Shares
from octy_worker.webhooks.signing import Parcel
from octy_workflows.messages import WebhookStepInput, WebhookStepResult

TRANSIENT = "WebhookTransient"
HELD_BACK = "WebhookHeldBack"  # by the account's share of this worker's slots
_LONGEST_PAUSE = 3600.0  # seconds between two tries
_LONGEST_WAIT = 60.0  # seconds for a place in the share
_log = logging.getLogger("octy.webhooks")
_ENDS = {None: WebhookState.SENT, Fault.GONE: WebhookState.FAILED, Fault.OFF: WebhookState.SKIPPED}


class Deliverer(Protocol):
    """What takes a parcel to its server."""

    def deliver(self, parcel: Parcel, *, first_try: bool = False) -> Delivery:
        """Post it once; the first try is a short one."""


class WebhookActivities:
    """Posts what workflows order. `clock` gives the time of rows."""

    def __init__(self, database: Database, courier: Deliverer, clock: Clock, shares: Shares | None = None) -> None:
        self._database = database
        self._shares = shares or Shares(SLOTS)
        self._courier = courier
        self._clock = clock

    @activity.defn(name="post_webhook", no_thread_cancel_exception=True)
    def post_webhook(self, order: WebhookStepInput) -> WebhookStepResult:
        """Write the try down, post the event, and note the result. What may go better next time raises."""
        with self._database.read_session() as session:
            account_id, tries = _of_account(session, order)
        with self._shares.turn(account_id, first_try=not tries) as granted:
            if not granted:
                raise _held_back(order)
            return self._post(order, account_id, tries)

    def _post(self, order: WebhookStepInput, account_id: str, tries: int) -> WebhookStepResult:
        with self._database.write_session() as session:
            standing = _known(begin(session, order.webhook_id, self._clock()), order)
        if standing.parcel is None:
            return _report(standing)
        delivery = self._courier.deliver(standing.parcel, first_try=not tries)
        self._shares.note(account_id, arrived=delivery.fault is None)
        state = _ENDS.get(delivery.fault, WebhookState.PENDING)
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
            return _report(_known(give_up(session, order.webhook_id), order))


def _of_account(session: Session, order: WebhookStepInput) -> tuple[str, int]:
    """Return whose event it is, and how often it was tried."""
    webhook = session.get(Webhook, order.webhook_id)
    return ("", 0) if webhook is None else (webhook.account_id, webhook.tries)


def _held_back(order: WebhookStepInput) -> ApplicationError:
    """Return what has Temporal ask again soon, later each time: the account's share of the slots is taken."""
    attempt = activity.info().attempt if activity.in_activity() else 1
    delay = timedelta(seconds=min(_LONGEST_WAIT, 2.0 ** min(attempt, 6)))
    return ApplicationError(f"webhook {order.webhook_id}: held-back", type=HELD_BACK, next_retry_delay=delay)


def _known(standing: Standing | None, order: WebhookStepInput) -> Standing:
    if standing is None:
        raise subject_missing("webhook", order.webhook_id)
    return standing


def _report(standing: Standing) -> WebhookStepResult:
    return WebhookStepResult(standing.state, standing.code)


def _tell(webhook_id: str, delivery: Delivery) -> None:
    if delivery.fault is None:
        _log.info("webhook %s: sent", webhook_id)
    else:
        _log.warning("webhook %s: %s", webhook_id, delivery.code)
