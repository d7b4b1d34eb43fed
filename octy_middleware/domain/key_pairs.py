"""Key pairs in the database: all transitions between their states, each with its row in the change feed.

pending → active → retiring → retired, and from any live state to retired directly. All functions run in the caller's
transaction and are idempotent: a key pair that is in the new state already is not changed.
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


def insert_key_pair(
    connection: Connection,
    pair_id: str,
    *,
    account_id: str,
    public_key: str,
    secret_digest: str,
    cause: str,
    now: float,
) -> None:
    """Insert a pending key pair; its digest is bound to its id."""
    connection.execute(
        insert(KeyPair),
        {
            "id": pair_id,
            "account_id": account_id,
            "public_key": public_key,
            "secret_digest": secret_digest,
            "state": KeyPairState.PENDING,
            "cause": cause,
            "created_at": utc(now),
        },
    )


class ImportedKeyPair(TypedDict):
    """A key pair of another system: its secret's hash there, sealed."""

    id: str
    account_id: str
    public_key: str
    secret_digest: str
    imported_scheme: str
    created_at: datetime


def insert_imported(connection: Connection, key_pairs: Sequence[ImportedKeyPair]) -> None:
    """Insert the key pairs of an import as pending: for requests they are unknown until the import is complete."""
    common = {"state": KeyPairState.PENDING, "cause": KeyPairCause.IMPORT}
    connection.execute(insert(KeyPair), [{**pair, **common} for pair in key_pairs])


def activate_imported(connection: Connection, first_id: str, last_id: str, now: float) -> None:
    """Activate all pending key pairs of an import, by one statement.

    Unknown and pending keys are in no cache, so one row in the change feed is enough: its readers reload the list of
    imported schemes.
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
    """Activate a pending key pair. True when this call did it."""
    return _change_state(
        connection, pair_id, [KeyPairState.PENDING], now, state=KeyPairState.ACTIVE, activated_at=utc(now)
    )


def set_successor(connection: Connection, pair_id: str, successor_id: str) -> None:
    """Record which key pair replaces this one."""
    connection.execute(update(KeyPair).where(col(KeyPair.id) == pair_id).values(replaced_by=successor_id))


def clear_successor(connection: Connection, pair_id: str, successor_id: str) -> None:
    """Remove this successor, because it was never delivered. A later successor stays."""
    noted = (col(KeyPair.id) == pair_id, col(KeyPair.replaced_by) == successor_id)
    connection.execute(update(KeyPair).where(*noted).values(replaced_by=None))


def begin_retiring(connection: Connection, pair_id: str, *, retire_at: datetime, now: float) -> bool:
    """Let an active key pair with a successor end at `retire_at`; until then it is accepted."""
    return _change_state(
        connection, pair_id, [KeyPairState.ACTIVE], now, state=KeyPairState.RETIRING, retire_at=retire_at
    )


def retire(connection: Connection, pair_id: str, now: float) -> bool:
    """Retire a key pair at once. The row stays, so that later requests with it are attributed."""
    live = [KeyPairState.PENDING, KeyPairState.ACTIVE, KeyPairState.RETIRING]
    moved = _change_state(connection, pair_id, live, now, state=KeyPairState.RETIRED, retired_at=utc(now))
    if moved:
        webhook_events.enqueue_keys_retired(connection, pair_id, now)
    return moved


def replace_digest(connection: Connection, pair_id: str, old: str, new: str, now: float) -> bool:
    """Replace an imported hash, or a digest with an old pepper, by a new digest of the same secret.

    True when this call did it; a digest that was changed meanwhile stays.
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
    """Have all processes drop this key from their caches: this one after the commit, the others by the change feed."""
    mark_changed(connection, public_key)
    connection.execute(insert(KeyChange), {"public_key": public_key, "at": utc(now)})


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
