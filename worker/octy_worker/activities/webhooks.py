"""Webhooks for workflows: one order, one event, however often it is asked for.

Here: the try's row, the POST, the result's row, in this order and each in its own transaction. Not here: what a POST is
(`octy_worker.webhooks`), how often it is tried (`octy_workflows.webhook`).

A worker that is killed between the POST and its row posts again, with the same `webhook-id`: receivers drop what they
know. Logs and faults hold ids and codes: no URL, no address.
"""

import logging
from typing import Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import Clock
from octy_middleware.database import Database
from octy_middleware.states import WebhookState
from octy_worker.subjects_missing import subject_missing
from octy_worker.webhooks.faults import Delivery, Fault
from octy_worker.webhooks.journal import Standing, begin, complete, give_up
from octy_worker.webhooks.signing import Parcel
from octy_workflows.messages import WebhookOrder, WebhookReport

TRANSIENT = "WebhookTransient"
_log = logging.getLogger("octy.webhooks")
_ENDS = {None: WebhookState.SENT, Fault.GONE: WebhookState.FAILED, Fault.OFF: WebhookState.SKIPPED}


class Deliverer(Protocol):
    """What takes a parcel to its server."""

    def deliver(self, parcel: Parcel) -> Delivery:
        """Post it once."""


class WebhookActivities:
    """Posts what workflows order. `clock` gives the time of rows."""

    def __init__(self, database: Database, courier: Deliverer, clock: Clock) -> None:
        self._database = database
        self._courier = courier
        self._clock = clock

    @activity.defn(name="post_webhook", no_thread_cancel_exception=True)
    def post_webhook(self, order: WebhookOrder) -> WebhookReport:
        """Write the try down, post the event, and note the result. What may go better next time raises."""
        with self._database.write_session() as session:
            standing = _known(begin(session, order.webhook_id, self._clock()), order)
        if standing.parcel is None:
            return _report(standing)
        delivery = self._courier.deliver(standing.parcel)
        state = _ENDS.get(delivery.fault, WebhookState.PENDING)
        with self._database.write_session() as session:
            stands = complete(session, order.webhook_id, state, self._clock(), code=delivery.code)
        _tell(order.webhook_id, delivery)
        if stands.state is WebhookState.PENDING:
            raise ApplicationError(f"webhook {order.webhook_id}: {delivery.code}", type=TRANSIENT)
        return _report(stands)

    @activity.defn(name="give_up_webhook", no_thread_cancel_exception=True)
    def give_up_webhook(self, order: WebhookOrder) -> WebhookReport:
        """Note that it is tried no more, and return the state that stands: the last try may have arrived."""
        with self._database.write_session() as session:
            return _report(_known(give_up(session, order.webhook_id), order))


def _known(standing: Standing | None, order: WebhookOrder) -> Standing:
    if standing is None:
        raise subject_missing("webhook", order.webhook_id)
    return standing


def _report(standing: Standing) -> WebhookReport:
    return WebhookReport(standing.state, standing.code)


def _tell(webhook_id: str, delivery: Delivery) -> None:
    if delivery.fault is None:
        _log.info("webhook %s: sent", webhook_id)
    else:
        _log.warning("webhook %s: %s", webhook_id, delivery.code)
