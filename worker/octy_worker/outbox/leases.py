"""One relay's claims on the outbox: which messages it delivers now, and what became of them.

Here: leases, in SQL. Not here: delivery (`relay`), what a message means (`meanings`), messages as support staff sees
them (`undelivered`).

Messages are claimed by priority, and within one by place, so that each account has its share (`outbox`).
Several relays share one outbox. Each takes a few messages at a time by a lease that ends by itself: what a killed
relay held is taken by the others after that. Of each subject only the oldest undelivered message can be taken, so
messages of one subject go out in their order, whoever takes them, and no subject waits for another. A message that is
set aside holds nothing back.

Leases are compared with each relay's own clock. One that is ahead by more than a lease takes messages that are under
way, and one that is behind comes as much later; both are harmless, for a message that is delivered twice is the same
workflow, and a signal that it has heard.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import groupby

from sqlalchemy import ColumnElement, Connection, Text, cast, func, or_, select, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from octy_middleware.clock import Clock, utc
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.database import Database
from octy_middleware.db.models import Outbox
from octy_middleware.domain.outbox import TRIES, Priority

_PAUSE = timedelta(seconds=0.5)  # after the first try of a message that is at fault; doubles with each try
_LAST_PATIENCE = 1.0  # seconds for other writers at the end: leases end by themselves, too
_FREE = {"leased_by": "", "leased_until": None}


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed message. `detail` is still JSON: one that can't be read is that message's fault alone."""

    number: int
    priority: Priority
    kind: str
    subject_id: str
    detail: str
    tries: int


class Fate(Enum):
    """What became of a claimed message."""

    DELIVERED = "delivered"
    AT_FAULT = "at fault"  # a try of its own; the next one after a pause
    HELD_BACK = "held back"  # by an outage: no try


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one message, and its fault, if that is known."""

    message: Message
    fate: Fate
    fault: str = ""


class Leases:
    """The claims of one holder, who has a name of its own."""

    def __init__(self, database: Database, clock: Clock, holder: str, lease: float) -> None:
        self._database = database
        self._clock = clock
        self._holder = holder
        self._lease = lease

    def take(self, ends: Sequence[DeliveryResult], limits: Mapping[Priority, int]) -> list[Message]:
        """Write down what became of messages, then claim so many others of each priority: one transaction.

        With nothing to write down, nothing is locked until there is something to claim.
        """
        wanted = {priority: limit for priority, limit in sorted(limits.items()) if limit}
        if not ends and not self._is_any_waiting(wanted):
            return []
        with self._database.write(mode=WriteMode.RECORDER) as connection:
            now = self._clock()
            self._write_down(connection, ends, now)
            return [
                message
                for priority, limit in wanted.items()
                for message in self._claim(connection, priority, limit, now)
            ]

    def _is_any_waiting(self, priorities: Iterable[Priority]) -> bool:
        with self._database.read() as connection:
            now = self._clock()
            return any(
                connection.execute(select(col(Outbox.id)).where(_claimable(priority, now)).limit(1)).first()
                for priority in priorities
            )

    def leave(self, ends: Sequence[DeliveryResult]) -> None:
        """Write down what became of messages, and give all others back."""
        with self._database.write(mode=WriteMode.RECORDER, timeout=_LAST_PATIENCE) as connection:
            self._write_down(connection, ends, self._clock())
            connection.execute(update(Outbox).where(self._held()).values(_FREE))

    def _claim(self, connection: Connection, priority: Priority, limit: int, now: float) -> list[Message]:
        detail = cast(col(Outbox.detail), Text).label("detail")
        wanted = (
            select(col(Outbox.id), col(Outbox.kind), col(Outbox.subject_id), detail, col(Outbox.tries))
            .where(_claimable(priority, now))
            .order_by(col(Outbox.place), col(Outbox.id))
            .limit(limit)
            .with_for_update(skip_locked=True)  # SQLite has one writer, and knows no such words
        )
        rows = connection.execute(wanted)
        found = [Message(row.id, priority, row.kind, row.subject_id, row.detail, row.tries) for row in rows]
        if found:
            until = utc(now + self._lease)
            self._set(connection, found, leased_by=self._holder, leased_until=until)
        return found

    def _write_down(self, connection: Connection, ends: Sequence[DeliveryResult], now: float) -> None:
        """Mark whatever was delivered, also when the lease was lost meanwhile; the rest only while it is ours."""
        delivered = [end.message for end in ends if end.fate is Fate.DELIVERED]
        if delivered:
            told = {"tries": Outbox.tries + 1, "delivered_at": utc(now), **_FREE}
            self._set(connection, delivered, col(Outbox.delivered_at).is_(None), **told)
        for end in ends:
            if end.fate is Fate.AT_FAULT:
                until = utc(now) + _PAUSE * 2**end.message.tries
                told = {"tries": Outbox.tries + 1, "last_error": end.fault, "leased_by": "", "leased_until": until}
                self._set(connection, [end.message], self._held(), **told)
        held_back = sorted((end for end in ends if end.fate is Fate.HELD_BACK), key=lambda end: end.fault)
        for fault, some in groupby(held_back, key=lambda end: end.fault):
            told = {**_FREE, **({"last_error": fault} if fault else {})}
            self._set(connection, (end.message for end in some), self._held(), **told)

    @staticmethod
    def _set(
        connection: Connection, messages: Iterable[Message], *conditions: ColumnElement[bool], **values: object
    ) -> None:
        numbers = [message.number for message in messages]
        connection.execute(update(Outbox).where(col(Outbox.id).in_(numbers), *conditions).values(values))

    def _held(self) -> ColumnElement[bool]:
        return (col(Outbox.leased_by) == self._holder) & col(Outbox.delivered_at).is_(None)


def _claimable(priority: Priority, now: float) -> ColumnElement[bool]:
    """Return the condition of a message of this priority that anybody may take.

    For each message that is met from the outbox's front on, the subject's oldest is looked up: a few steps in an index
    for each that is claimed. A grouping or an anti-join would go through the whole outbox, however many are claimed.
    """
    older = aliased(Outbox)
    oldest = (
        select(func.min(col(older.id)))
        .where(_waits(older), col(older.subject_id) == col(Outbox.subject_id))
        .correlate(Outbox)
        .scalar_subquery()
    )
    free = or_(col(Outbox.leased_until).is_(None), col(Outbox.leased_until) <= utc(now))
    return _waits(Outbox) & (col(Outbox.priority) == priority) & free & (col(Outbox.id) == oldest)


def _waits(message: type[Outbox]) -> ColumnElement[bool]:
    return col(message.delivered_at).is_(None) & (col(message.tries) < TRIES)
