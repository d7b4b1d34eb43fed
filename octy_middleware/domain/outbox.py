"""The one adapter to Temporal, this side of it: messages written in the same transaction as their cause.

Here: the kinds of message, how one is put down, and in which order they are to be delivered. Not here: delivery
(`octy_worker.outbox.relay`).

Each kind has a priority, and within a priority each account a share: a message that comes while earlier ones of its
account still wait stands behind the messages of accounts that have none waiting (start-time fair queueing).
"""

import json
from collections.abc import Mapping
from enum import IntEnum, StrEnum

from sqlalchemy import Connection, func, insert, select
from sqlmodel import col

from octy_middleware.clock import utc
from octy_middleware.db.database import notify
from octy_middleware.db.models import Outbox

MAX_DELIVERY_ATTEMPTS = 5
"""Deliveries of a message that is itself at fault; then it is set aside, undelivered and visible."""


class MessageKind(StrEnum):
    """What happened, and in brackets whose id `subject_id` is."""

    INCIDENT_OPENED = "incident_opened"  # (incident)
    INCIDENT_GREW = "incident_grew"  # (incident) failures
    INCIDENT_ANSWERED = "incident_answered"  # (incident) answer, leaked
    INCIDENT_CHANGED = "incident_changed"  # (incident) answer, leaked, by, change_id
    REGENERATION_OPENED = "regeneration_opened"  # (regeneration)
    REGENERATION_COLLECTED = "regeneration_collected"  # (regeneration)
    REGENERATION_SUPERSEDED = "regeneration_superseded"  # (regeneration)
    REGENERATION_FINISHED = "regeneration_finished"  # (incident that waited for it) state
    NOTICE_CREATED = "notice_created"  # (notice)
    WEBHOOK_DUE = "webhook_due"  # (webhook) order


class Priority(IntEnum):
    """What is delivered before what; each priority has deliveries of its own, which no other can use."""

    ALERT = 0  # an incident was opened: its alert is what the product is for
    ANSWER = 1  # answers and key work: a customer or a member of staff waits
    NOTICE = 2  # notices and doublings of a count, of which one account can cause many
    WEBHOOK = 3


PRIORITY = {
    MessageKind.INCIDENT_OPENED: Priority.ALERT,
    MessageKind.INCIDENT_GREW: Priority.NOTICE,
    MessageKind.INCIDENT_ANSWERED: Priority.ANSWER,
    MessageKind.INCIDENT_CHANGED: Priority.ANSWER,
    MessageKind.REGENERATION_OPENED: Priority.ANSWER,
    MessageKind.REGENERATION_COLLECTED: Priority.ANSWER,
    MessageKind.REGENERATION_SUPERSEDED: Priority.ANSWER,
    MessageKind.REGENERATION_FINISHED: Priority.ANSWER,
    MessageKind.NOTICE_CREATED: Priority.NOTICE,
    MessageKind.WEBHOOK_DUE: Priority.WEBHOOK,
}
_POSITION_STEP = 1_000_000  # microseconds between the places of two messages of one account that wait at the same time


def enqueue(
    connection: Connection,
    event: MessageKind,
    subject_id: str,
    now: float,
    detail: Mapping[str, object] | None = None,
    *,
    account_id: str = "",
) -> None:
    """Put one message down in the caller's transaction. `detail` holds JSON values, no personal data.

    `account_id`: whose share of its priority it takes; none where an account can't cause many.
    """
    json.dumps(detail or {})  # a value that can't travel fails here, beside its cause
    priority = PRIORITY.get(event, Priority.ANSWER)  # an unknown kind is told of by the relay
    connection.execute(
        insert(Outbox).values(
            kind=event,
            subject_id=subject_id,
            detail=dict(detail or {}),
            created_at=utc(now),
            priority=priority,
            account_id=account_id,
            position=_position(connection, priority, account_id, now),
        )
    )
    notify(connection)


def _position(connection: Connection, priority: Priority, account_id: str, now: float) -> int:
    """Return the message's place in its priority: the time, or behind the account's last one that still waits."""
    position = int(now * 1_000_000)
    if not account_id:
        return position
    waiting = (
        col(Outbox.account_id) == account_id,
        col(Outbox.priority) == priority,
        col(Outbox.delivered_at).is_(None),
    )
    last = connection.execute(select(func.max(col(Outbox.position))).where(*waiting)).scalar()
    return position if last is None else max(position, last + _POSITION_STEP)
