"""Key pairs in the store: every way from one state to the next, each with its entry in the change feed.

pending → active → retiring → retired, and from any live state to retired at once. Here: those steps. Not here: why
(the worker's `regenerations` and `cases`), and what processes remember (`keyring`).

All functions work in the caller's transaction and are idempotent: a pair already there is left alone.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import Connection, insert, update
from sqlmodel import col, select

from octy_middleware.clock import utc
from octy_middleware.db.database import mark_changed
from octy_middleware.db.models import KeyChange, KeyPair
from octy_middleware.domain import webhook_events
from octy_middleware.states import KeyPairCause, KeyPairState


def insert_key_pair(  # a row as it is, keyword by keyword
    connection: Connection,
    pair_id: str,
    *,
    account_id: str,
    public_key: str,
    secret_digest: str,
    cause: str,
    now: float,
) -> None:
    """Put a pending pair down; its digest is bound to its id."""
    connection.execute(
        insert(KeyPair).values(
            id=pair_id,
            account_id=account_id,
            public_key=public_key,
            secret_digest=secret_digest,
            state=KeyPairState.PENDING,
            cause=cause,
            created_at=utc(now),
        )
    )


class ImportedKeyPair(TypedDict):
    """A pair that its customer has had before it came here, with a hash of another system, sealed."""

    id: str
    account_id: str
    public_key: str
    secret_digest: str
    imported_scheme: str
    created_at: datetime


def insert_imported(connection: Connection, known: Sequence[ImportedKeyPair]) -> None:
    """Put pairs of an import down as pending: until all of it is there, they are unknown keys to a request."""
    life = {"state": KeyPairState.PENDING, "cause": KeyPairCause.IMPORT}
    connection.execute(insert(KeyPair), [{**pair, **life} for pair in known])


def activate_imported(connection: Connection, first_id: str, last_id: str, now: float) -> None:
    """Let all pending pairs of an import authenticate, by one statement.

    Unknown keys and pending pairs are remembered by nobody, so one entry in the change feed is enough: whoever reads it
    looks which imported schemes there are.
    """
    span = (col(KeyPair.id) >= first_id, col(KeyPair.id) <= last_id, col(KeyPair.cause) == KeyPairCause.IMPORT)
    connection.execute(
        update(KeyPair)
        .where(*span, col(KeyPair.state) == KeyPairState.PENDING)
        .values(state=KeyPairState.ACTIVE, activated_at=utc(now))
    )
    first = connection.execute(select(col(KeyPair.public_key)).where(*span).order_by(col(KeyPair.id)).limit(1)).first()
    if first is not None:
        record_key_change(connection, first[0], now)


def activate(connection: Connection, pair_id: str, now: float) -> bool:
    """Let a pending pair authenticate. True when this call did it."""
    return _change_state(
        connection, pair_id, [KeyPairState.PENDING], now, state=KeyPairState.ACTIVE, activated_at=utc(now)
    )


def set_successor(connection: Connection, pair_id: str, successor_id: str) -> None:
    """Note which pair replaces this one."""
    connection.execute(update(KeyPair).where(col(KeyPair.id) == pair_id).values(replaced_by=successor_id))


def clear_successor(connection: Connection, pair_id: str, successor_id: str) -> None:
    """Take the note back: nobody got that pair, so it replaced nothing. A later successor's note stands."""
    noted = (col(KeyPair.id) == pair_id, col(KeyPair.replaced_by) == successor_id)
    connection.execute(update(KeyPair).where(*noted).values(replaced_by=None))


def begin_retiring(connection: Connection, pair_id: str, *, retire_at: datetime, now: float) -> bool:
    """Set the end of an active pair that has a successor; it is accepted until then."""
    return _change_state(
        connection, pair_id, [KeyPairState.ACTIVE], now, state=KeyPairState.RETIRING, retire_at=retire_at
    )


def retire(connection: Connection, pair_id: str, now: float) -> bool:
    """Cut a pair at once. The row stays as a tombstone, so that late hits are attributed."""
    live = [KeyPairState.PENDING, KeyPairState.ACTIVE, KeyPairState.RETIRING]
    moved = _change_state(connection, pair_id, live, now, state=KeyPairState.RETIRED, retired_at=utc(now))
    if moved:
        webhook_events.enqueue_keys_retired(connection, pair_id, now)
    return moved


def replace_digest(connection: Connection, pair_id: str, old: str, new: str, now: float) -> bool:
    """Store a fresh digest of the same secret in place of an imported hash or an old pepper's digest.

    True when this call did it; a digest that changed meanwhile stands.
    """
    row = connection.execute(
        update(KeyPair)
        .where(col(KeyPair.id) == pair_id, col(KeyPair.secret_digest) == old)
        .values(secret_digest=new, imported_scheme=None)
        .returning(col(KeyPair.public_key))
    ).first()
    if row is not None:
        record_key_change(connection, row[0], now)
    return row is not None


def record_key_change(connection: Connection, public_key: str, now: float) -> None:
    """Tell every process to drop what it remembers of this key: this one at its commit, the others by the feed."""
    mark_changed(connection, public_key)
    connection.execute(insert(KeyChange).values(public_key=public_key, at=utc(now)))


def _change_state(connection: Connection, pair_id: str, states: Iterable[str], now: float, **values: Any) -> bool:
    statement = (
        update(KeyPair)
        .where(col(KeyPair.id) == pair_id, col(KeyPair.state).in_(list(states)))
        .values(**values)
        .returning(col(KeyPair.public_key))
    )
    row = connection.execute(statement).first()
    if row is None:
        return False
    record_key_change(connection, row[0], now)
    return True
