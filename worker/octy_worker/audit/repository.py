"""The audit log in SQL. Entries are appended in the transaction of the act, by one writer at a time."""

import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import ColumnElement, insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import RandomBytes, to_micros, utc
from octy_middleware.db.models import AuditCheckpoint, AuditEntry
from octy_worker.audit.chain import BEGINNING, ERASED, SALT_BYTES, Checkpoint, Entry, next_entry
from octy_worker.canonical_json import JsonValue

_FETCHED = 2000  # rows at a time
_BEFORE_ALL = -(2**63)  # also an inserted row with a number below 1 is read


def append(
    session: Session,
    action: str,
    *,
    actor: str,
    subject: str = "",
    order_id: str = "",
    detail: Mapping[str, object] | None = None,
    now: float | None = None,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> Entry:
    """Append an entry in the caller's transaction, which must be an exclusive write (`Database.write_session`).

    `detail`: without secrets and mail addresses; what is no JSON, and floating-point numbers, become text.
    """
    entry = next_entry(
        last_entry(session),
        at=to_micros(time.time() if now is None else now),
        actor=actor,
        action=action,
        subject=subject,
        order_id=order_id,
        detail=json_values(detail or {}),
        salt=random_bytes(SALT_BYTES),
    )
    session.connection().execute(insert(AuditEntry), entry._asdict())
    return entry


def last_entry(session: Session) -> Checkpoint:
    """Return number and hash of the last entry; of an empty log, what the first one continues."""
    newest = select(AuditEntry.seq, AuditEntry.hash).order_by(col(AuditEntry.seq).desc()).limit(1)
    row = session.exec(newest).first()
    return BEGINNING if row is None else Checkpoint(*row)


def entries(session: Session, *, after: int = _BEFORE_ALL, subject: str | None = None) -> Iterator[Entry]:
    """Yield entries in the order of their numbers, fetched in parts; those of one subject if one is given."""
    columns = [getattr(AuditEntry, name) for name in Entry._fields]
    while True:
        query = select(*columns).where(col(AuditEntry.seq) > after).order_by(col(AuditEntry.seq)).limit(_FETCHED)
        if subject is not None:
            query = query.where(col(AuditEntry.subject) == subject)
        rows = session.connection().execute(query).all()
        for row in rows:
            yield Entry(*row)
        if len(rows) < _FETCHED:
            return
        after = rows[-1].seq


def erase_details(session: Session, subject: str, order_id: str | None = None) -> list[int]:
    """Erase what is known about a subject beyond its entries; return their numbers. The chain stays whole.

    `order_id`: only of entries about this order. The caller appends an entry ERASED that names them (`chain.Erasure`).
    Such entries keep their own detail.
    """
    about = [col(AuditEntry.subject) == subject, col(AuditEntry.action) != ERASED]
    if order_id is not None:
        about.append(col(AuditEntry.order_id) == order_id)
    return _erase(session, about)


def erase_details_of_orders(session: Session, order_ids: Collection[str], actions: Collection[str]) -> list[int]:
    """Erase the details of entries of these actions about these orders, as `erase_details` does."""
    return _erase(session, [col(AuditEntry.order_id).in_(order_ids), col(AuditEntry.action).in_(actions)])


def _erase(session: Session, about: Sequence[ColumnElement[bool]]) -> list[int]:
    which = (*about, col(AuditEntry.detail).is_not(None))
    erased = list(session.exec(select(AuditEntry.seq).where(*which).order_by(col(AuditEntry.seq))))
    session.connection().execute(update(AuditEntry).where(*which).values(detail=None, salt=None))
    return erased


def save_checkpoint(session: Session, number: int, seq: int, text: str, now: float) -> None:
    """Keep a signed checkpoint beside the log."""
    session.connection().execute(insert(AuditCheckpoint).values(number=number, seq=seq, at=utc(now), text=text))


def last_checkpoint(session: Session) -> AuditCheckpoint | None:
    """Return the newest signed checkpoint, or None. Its text is not verified."""
    return session.exec(select(AuditCheckpoint).order_by(col(AuditCheckpoint.number).desc()).limit(1)).first()


def saved_checkpoints(session: Session) -> list[str]:
    """Return all signed checkpoints that the database has, oldest first."""
    return list(session.exec(select(AuditCheckpoint.text).order_by(col(AuditCheckpoint.number))))


def read_entry(session: Session, seq: int) -> Entry | None:
    """Return one entry, or None."""
    row = session.get(AuditEntry, seq)
    return None if row is None else Entry(*(getattr(row, name) for name in Entry._fields))


def json_values(detail: Mapping[str, object]) -> dict[str, JsonValue]:
    """Return a detail as it is committed."""
    return {name: _json_value(value) for name, value in detail.items()}


def _json_value(value: object) -> JsonValue:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): _json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    return str(value)
