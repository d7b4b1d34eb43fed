"""The undelivered messages of the outbox, as support staff sees them, and the order to try those set aside again.

Here: the list with its shape, and the order as one transaction with its refusals. Not here: delivery (`relay`), the
`octy` command and its audit line (`cli.outbox`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlmodel import col

from octy_middleware.clock import utc
from octy_middleware.db.database import Database, notify
from octy_middleware.db.models import Outbox
from octy_middleware.domain.outbox import TRIES
from octy_middleware.errors import InvalidInputError
from octy_worker.domain.staff_requests import check_staff
from octy_worker.errors import OrderRefusedError

_NAMED = 5  # messages that a refusal names


@dataclass(frozen=True, slots=True)
class MessageLine:
    """One undelivered message. `state`: set_aside, under_way (by `leased_by`) or waiting."""

    id: int
    kind: str
    subject_id: str
    state: str
    tries: int
    last_error: str
    created_at: datetime
    leased_by: str
    leased_until: datetime | None


def list_undelivered(
    database: Database, now: float, *, aside: bool = False, limit: int | None = None, offset: int = 0
) -> tuple[MessageLine, ...]:
    """Return undelivered messages, newest first; with `aside` only those that are tried no more."""
    columns = (
        Outbox.id,
        Outbox.kind,
        Outbox.subject_id,
        Outbox.tries,
        Outbox.last_error,
        Outbox.created_at,
        Outbox.leased_by,
        Outbox.leased_until,
    )
    wanted = select(*map(col, columns)).where(_set_aside() if aside else _undelivered())
    with database.read() as connection:
        rows = connection.execute(wanted.order_by(col(Outbox.id).desc()).limit(limit).offset(offset)).mappings().all()
    return tuple(
        MessageLine(state=_state(row["tries"], row["leased_by"], row["leased_until"], now), **row) for row in rows
    )


def count_undelivered(database: Database, *, aside: bool = False) -> int:
    """Return how many messages `list_undelivered` has in all."""
    query = select(func.count()).select_from(Outbox).where(_set_aside() if aside else _undelivered())
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())


def _state(tries: int, leased_by: str, leased_until: datetime | None, now: float) -> str:
    if tries >= TRIES:
        return "set_aside"
    return "under_way" if leased_by and leased_until and leased_until > utc(now) else "waiting"


def retry(database: Database, numbers: Collection[int] | None, *, actor: str, reason: str) -> Sequence[int]:
    """Have messages that were set aside tried again, these or all; return their ids. All of them, or nothing.

    Raises InvalidInputError for an id that there is not, OrderRefusedError for a message that is not set aside.
    """
    check_staff(actor, reason)
    with database.write() as connection:
        if numbers is not None:
            _refuse_others(connection, numbers)
        which = _set_aside() if numbers is None else col(Outbox.id).in_(numbers)
        fresh = update(Outbox).where(which).values(tries=0, leased_by="", leased_until=None)
        retried = sorted(row.id for row in connection.execute(fresh.returning(col(Outbox.id))))
        if retried:
            notify(connection)
    return retried


def _refuse_others(connection: Connection, numbers: Collection[int]) -> None:
    found: Iterable[Any] = connection.execute(select(col(Outbox.id), _set_aside()).where(col(Outbox.id).in_(numbers)))
    aside = {number: bool(is_aside) for number, is_aside in found}
    if unknown := sorted(set(numbers) - aside.keys()):
        raise InvalidInputError(f"the outbox has no message {_names(unknown)} → `octy outbox list` shows what waits")
    if others := sorted(number for number, is_aside in aside.items() if not is_aside):
        raise OrderRefusedError(f"not set aside, so delivered or still being tried: {_names(others)}")


def _names(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED]))
    return f"{named} and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else named


def _undelivered() -> ColumnElement[bool]:
    return col(Outbox.delivered_at).is_(None)


def _set_aside() -> ColumnElement[bool]:
    return _undelivered() & (col(Outbox.tries) >= TRIES)
