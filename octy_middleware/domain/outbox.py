"""The outbox: messages for Temporal, written in the same transaction as their cause.

Each kind has a priority, and within a priority accounts share the deliveries: a message of an account with undelivered
ones gets a later position than those of accounts without (start-time fair queueing). `octy_worker.outbox.relay`
delivers them.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from sqlalchemy import Connection, func, insert, select
from sqlmodel import col

from octy_middleware.clock import utc
from octy_middleware.db.database import notify
from octy_middleware.db.models import Outbox

MAX_DELIVERY_ATTEMPTS = 5
"""Failed deliveries of an invalid message; then it is a dead letter: undelivered and visible."""


class MessageKind(StrEnum):
    """What happened; in brackets: whose id `subject_id` is, then the fields of `detail`."""

    INCIDENT_OPENED = "incident_opened"  # (incident)
    INCIDENT_GREW = "incident_grew"  # (incident) failures
    INCIDENT_ANSWERED = "incident_answered"  # (incident) answer, leaked
    INCIDENT_CHANGED = "incident_changed"  # (incident) answer, leaked, by, order_id
    REGENERATION_OPENED = "regeneration_opened"  # (regeneration)
    REGENERATION_COLLECTED = "regeneration_collected"  # (regeneration)
    REGENERATION_SUPERSEDED = "regeneration_superseded"  # (regeneration)
    REGENERATION_FINISHED = "regeneration_finished"  # (incident that waited for it) state
    NOTICE_CREATED = "notice_created"  # (notice)
    WEBHOOK_DUE = "webhook_due"  # (webhook) order


class Priority(IntEnum):
    """The order of delivery; each priority has concurrent deliveries of its own."""

    ALERT = 0  # an incident was opened: the alert is the purpose of the product
    ANSWER = 1  # answers and regenerations: a customer or a member of staff waits
    NOTICE = 2  # notices and growing counts: one account can cause many
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
_POSITION_STEP = 1_000_000  # microseconds between the positions of two undelivered messages of one account


def enqueue(
    connection: Connection,
    kind: MessageKind,
    subject_id: str,
    now: float,
    detail: Mapping[str, object] | None = None,
    *,
    account_id: str = "",
) -> None:
    """Insert one message in the caller's transaction. `detail` contains JSON values, no personal data.

    `account_id`: for fairness between accounts; empty for kinds of which an account can't cause many.
    """
    priority = PRIORITY.get(kind, Priority.ANSWER)  # the relay logs an unknown kind
    connection.execute(
        insert(Outbox),
        {
            "kind": kind,
            "subject_id": subject_id,
            "detail": dict(detail or {}),
            "created_at": utc(now),
            "priority": priority,
            "account_id": account_id,
            "position": _position(connection, priority, account_id, now),
        },
    )
    notify(connection)


def _position(connection: Connection, priority: Priority, account_id: str, now: float) -> int:
    """Return the position in the priority: the time, or after the account's last undelivered message."""
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
