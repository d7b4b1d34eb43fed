"""Leases on outbox messages: which messages this relay delivers now, and recording their results.

Messages are leased by priority, and within one by `position`, which gives each account its share (`domain.outbox`).
Several relays share one outbox. Each leases a few messages at a time; when a relay is killed, its leases expire and
the others take its messages. Of each subject only the oldest undelivered message can be leased, so the messages of
one subject are delivered in order, and no subject waits for another. A dead letter blocks nothing.

Each relay compares leases with its own clock. A relay whose clock is ahead by more than a lease takes messages that
are being delivered, and one whose clock is behind takes them later. Neither does damage: delivering a message twice
finds the same workflow, which ignores a signal that it has already received.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import groupby

from sqlalchemy import ColumnElement, Connection, Text, cast, func, or_, select, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from octy_middleware.clock import Clock, utc
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.database import Database
from octy_middleware.db.models import Outbox
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS, Priority

_RETRY_DELAY = timedelta(seconds=0.5)  # after the first failed try of a message; doubles with each try
_RELEASE_TIMEOUT = 1.0  # seconds to wait for other writers when the relay stops: leases expire anyway
_NOT_LEASED = {"leased_by": "", "leased_until": None}


@dataclass(frozen=True, slots=True)
class Message:
    """A leased message. `detail` is still JSON: if it can't be parsed, only this message fails."""

    id: int
    priority: Priority
    kind: str
    subject_id: str
    detail: str
    delivery_attempts: int


class DeliveryStatus(StrEnum):
    """How one delivery ended."""

    DELIVERED = "delivered"
    FAILED = "failed"  # because of the message itself: counts as a try, repeated after a delay
    DEFERRED = "deferred"  # because of an outage: does not count as a try


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one delivery. `error`: type and code of what went wrong, if known."""

    message: Message
    status: DeliveryStatus
    error: str = ""


class Leases:
    """The leases of one relay, whose name is `holder`. `duration`: seconds."""

    def __init__(self, database: Database, clock: Clock, holder: str, duration: float) -> None:
        self._database = database
        self._clock = clock
        self._holder = holder
        self._duration = duration

    def take(self, results: Sequence[DeliveryResult], limits: Mapping[Priority, int]) -> list[Message]:
        """Record results, then lease up to `limits` messages of each priority, in one transaction.

        Without results nothing is locked until there is a message to lease.
        """
        wanted = {priority: limit for priority, limit in sorted(limits.items()) if limit}
        if not results and not self._is_any_deliverable(wanted):
            return []
        with self._database.write(mode=WriteMode.RECORDER) as connection:
            now = self._clock()
            self._record(connection, results, now)
            return [
                message
                for priority, limit in wanted.items()
                for message in self._lease(connection, priority, limit, now)
            ]

    def _is_any_deliverable(self, priorities: Iterable[Priority]) -> bool:
        with self._database.read() as connection:
            now = self._clock()
            return any(
                connection.execute(select(col(Outbox.id)).where(_deliverable(priority, now)).limit(1)).first()
                for priority in priorities
            )

    def release(self, results: Sequence[DeliveryResult]) -> None:
        """Record results, and give all other leases of this relay back."""
        with self._database.write(mode=WriteMode.RECORDER, timeout=_RELEASE_TIMEOUT) as connection:
            self._record(connection, results, self._clock())
            connection.execute(update(Outbox).where(self._leased_by_us()).values(_NOT_LEASED))

    def _lease(self, connection: Connection, priority: Priority, limit: int, now: float) -> list[Message]:
        detail = cast(col(Outbox.detail), Text).label("detail")
        query = (
            select(col(Outbox.id), col(Outbox.kind), col(Outbox.subject_id), detail, col(Outbox.delivery_attempts))
            .where(_deliverable(priority, now))
            .order_by(col(Outbox.position), col(Outbox.id))
            .limit(limit)
            .with_for_update(skip_locked=True)  # ignored by SQLite, which has one writer
        )
        rows = connection.execute(query)
        messages = [
            Message(row.id, priority, row.kind, row.subject_id, row.detail, row.delivery_attempts) for row in rows
        ]
        if messages:
            until = utc(now + self._duration)
            self._update(connection, messages, leased_by=self._holder, leased_until=until)
        return messages

    def _record(self, connection: Connection, results: Sequence[DeliveryResult], now: float) -> None:
        """Record every delivery, even if the lease was lost meanwhile; other results only while we hold the lease."""
        delivered = [result.message for result in results if result.status is DeliveryStatus.DELIVERED]
        if delivered:
            values = {"delivery_attempts": Outbox.delivery_attempts + 1, "delivered_at": utc(now), **_NOT_LEASED}
            self._update(connection, delivered, col(Outbox.delivered_at).is_(None), **values)
        for result in results:
            if result.status is DeliveryStatus.FAILED:
                until = utc(now) + _RETRY_DELAY * 2**result.message.delivery_attempts
                values = {
                    "delivery_attempts": Outbox.delivery_attempts + 1,
                    "last_error": result.error,
                    "leased_by": "",
                    "leased_until": until,
                }
                self._update(connection, [result.message], self._leased_by_us(), **values)
        deferred = sorted(
            (result for result in results if result.status is DeliveryStatus.DEFERRED), key=lambda result: result.error
        )
        for error, group in groupby(deferred, key=lambda result: result.error):
            values = {**_NOT_LEASED, **({"last_error": error} if error else {})}
            self._update(connection, (result.message for result in group), self._leased_by_us(), **values)

    @staticmethod
    def _update(
        connection: Connection, messages: Iterable[Message], *conditions: ColumnElement[bool], **values: object
    ) -> None:
        ids = [message.id for message in messages]
        connection.execute(update(Outbox).where(col(Outbox.id).in_(ids), *conditions).values(values))

    def _leased_by_us(self) -> ColumnElement[bool]:
        return (col(Outbox.leased_by) == self._holder) & col(Outbox.delivered_at).is_(None)


def _deliverable(priority: Priority, now: float) -> ColumnElement[bool]:
    """Return the condition of a message of this priority that any relay may lease.

    The correlated subquery looks up the oldest message of the subject: a few index steps for each leased message.
    A GROUP BY or an anti-join would scan the whole outbox, however few messages are leased.
    """
    older = aliased(Outbox)
    oldest = (
        select(func.min(col(older.id)))
        .where(_is_pending(older), col(older.subject_id) == col(Outbox.subject_id))
        .correlate(Outbox)
        .scalar_subquery()
    )
    free = or_(col(Outbox.leased_until).is_(None), col(Outbox.leased_until) <= utc(now))
    return _is_pending(Outbox) & (col(Outbox.priority) == priority) & free & (col(Outbox.id) == oldest)


def _is_pending(message: type[Outbox]) -> ColumnElement[bool]:
    return col(message.delivered_at).is_(None) & (col(message.delivery_attempts) < MAX_DELIVERY_ATTEMPTS)
