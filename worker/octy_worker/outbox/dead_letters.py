"""Undelivered outbox messages for support staff: listing them, and retrying dead letters.

A dead letter is a message that failed for good: the relay does not try it again.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.db.database import notify
from octy_middleware.db.models import Outbox
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS
from octy_middleware.errors import InvalidInputError
from octy_worker.access.orders import check_staff
from octy_worker.errors import RefusedError
from octy_worker.formatting import format_ids


@dataclass(frozen=True, slots=True)
class MessageLine:
    """One undelivered message. `state`: dead_letter, leased (by the relay `leased_by`) or waiting."""

    id: int
    kind: str
    subject_id: str
    state: str
    delivery_attempts: int
    last_error: str
    created_at: datetime
    leased_by: str
    leased_until: datetime | None


def list_undelivered(
    session: Session, now: float, *, dead_letters: bool = False, limit: int | None = None, offset: int = 0
) -> tuple[MessageLine, ...]:
    """Return undelivered messages, newest first; with `dead_letters` only these."""
    columns = (
        Outbox.id,
        Outbox.kind,
        Outbox.subject_id,
        Outbox.delivery_attempts,
        Outbox.last_error,
        Outbox.created_at,
        Outbox.leased_by,
        Outbox.leased_until,
    )
    query = select(*map(col, columns)).where(_is_dead_letter() if dead_letters else _is_undelivered())
    ordered = query.order_by(col(Outbox.id).desc()).limit(limit).offset(offset)
    rows = session.connection().execute(ordered).mappings().all()
    return tuple(
        MessageLine(state=_state(row["delivery_attempts"], row["leased_by"], row["leased_until"], now), **row)
        for row in rows
    )


def count_undelivered(session: Session, *, dead_letters: bool = False) -> int:
    """Return the total number of messages of `list_undelivered`."""
    query = select(func.count()).select_from(Outbox).where(_is_dead_letter() if dead_letters else _is_undelivered())
    return session.exec(query).one()


def _state(attempts: int, leased_by: str, leased_until: datetime | None, now: float) -> str:
    if attempts >= MAX_DELIVERY_ATTEMPTS:
        return "dead_letter"
    return "leased" if leased_by and leased_until and leased_until > utc(now) else "waiting"


def retry_dead_letters(session: Session, ids: Collection[int] | None, *, actor: str, reason: str) -> Sequence[int]:
    """Let the relay deliver dead letters again, these or all (None): reset their attempts; return their ids.

    All or nothing. Raises InvalidInputError for an unknown id, RefusedError for a message that is no dead letter.
    """
    check_staff(actor, reason)
    if ids is not None:
        _check_dead_letters(session, ids)
    which = _is_dead_letter() if ids is None else col(Outbox.id).in_(ids)
    reset = update(Outbox).where(which).values(delivery_attempts=0, leased_by="", leased_until=None)
    connection = session.connection()
    retried = sorted(row.id for row in connection.execute(reset.returning(col(Outbox.id))))
    if retried:
        notify(connection)
    return retried


def _check_dead_letters(session: Session, ids: Collection[int]) -> None:
    rows: Iterable[Any] = session.exec(select(col(Outbox.id), _is_dead_letter()).where(col(Outbox.id).in_(ids)))
    found = {message_id: bool(is_dead_letter) for message_id, is_dead_letter in rows}
    if unknown := sorted(set(ids) - found.keys()):
        raise InvalidInputError(f"unknown outbox message {format_ids(unknown)} → `octy outbox list` shows the messages")
    if others := sorted(message_id for message_id, is_dead_letter in found.items() if not is_dead_letter):
        raise RefusedError(f"not a dead letter, so delivered or still being retried: {format_ids(others)}")


def _is_undelivered() -> ColumnElement[bool]:
    return col(Outbox.delivered_at).is_(None)


def _is_dead_letter() -> ColumnElement[bool]:
    return _is_undelivered() & (col(Outbox.delivery_attempts) >= MAX_DELIVERY_ATTEMPTS)
