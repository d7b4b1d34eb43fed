"""Notices: news for a customer that is not an incident, written in the transaction of its cause.

`Notice.detail` holds, by kind:
  exposed          source, user_agent, request_id
  contact_changed  old (the security address), new, others (the further addresses of the last 14 days);
                   actor, reason: of the support staff who changed it, and only then
  keys_added       public_keys (the first ones, separated by spaces), count
  webhook_changed  nothing: a URL may contain a password
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, or_, update
from sqlmodel import col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import KeyPair, Notice, Outbox
from octy_middleware.domain import outbox, webhook_events
from octy_middleware.states import NoticeKind

MAX_NAMED_KEYS = 10  # public keys in a notice of added key pairs
EXPOSURE_NOTICE_INTERVAL = 86_400.0  # seconds between two notices about one key pair


def record_exposure(connection: Connection, pair_id: str, detail: Mapping[str, str], now: float) -> bool:
    """Record that a key pair came over plain HTTP, and create a notice; True when this call did it.

    At most one notice a day for a key pair: one conditional UPDATE decides between processes.
    """
    updated = connection.execute(
        update(KeyPair)
        .where(
            col(KeyPair.id) == pair_id,
            or_(col(KeyPair.exposed_at).is_(None), col(KeyPair.exposed_at) <= utc(now - EXPOSURE_NOTICE_INTERVAL)),
        )
        .values(exposed_at=utc(now))
        .returning(col(KeyPair.account_id))
    ).first()
    if updated is None:
        return False
    create_notice(connection, NoticeKind.EXPOSED, updated[0], now, detail, key_pair_id=pair_id)
    return True


def record_added_keys(
    connection: Connection, account_id: str, first_pair_id: str, public_keys: Sequence[str], now: float
) -> None:
    """Create a notice that an import added key pairs to an account."""
    detail = {"public_keys": " ".join(public_keys[:MAX_NAMED_KEYS]), "count": str(len(public_keys))}
    create_notice(connection, NoticeKind.KEYS_ADDED, account_id, now, detail, key_pair_id=first_pair_id)


def create_notice(
    connection: Connection,
    kind: NoticeKind,
    account_id: str,
    now: float,
    detail: Mapping[str, Any],
    *,
    key_pair_id: str | None = None,
) -> str:
    """Insert a notice, its message for the worker and its webhook; return its id.

    An undelivered notice of the same kind about the whole account is updated instead: its mails then contain the
    latest change.
    """
    undelivered = None if key_pair_id else _undelivered_notice(connection, kind, account_id)
    if undelivered is not None:
        connection.execute(update(Notice).where(col(Notice.id) == undelivered).values(detail=dict(detail), at=utc(now)))
        return undelivered
    notice_id = uuid7(now)
    connection.execute(
        insert(Notice).values(
            id=notice_id,
            account_id=account_id,
            kind=kind,
            key_pair_id=key_pair_id,
            detail=dict(detail),
            at=utc(now),
        )
    )
    outbox.enqueue(connection, outbox.MessageKind.NOTICE_CREATED, notice_id, now, account_id=account_id)
    webhook_events.enqueue_notice_created(connection, kind, account_id, notice_id, now, pair_id=key_pair_id)
    return notice_id


def _undelivered_notice(connection: Connection, kind: NoticeKind, account_id: str) -> str | None:
    """Return the notice whose message is in the outbox and not leased, and lock the message until the commit."""
    row = connection.execute(
        select(col(Notice.id))
        .join(Outbox, col(Outbox.subject_id) == col(Notice.id))
        .where(
            Notice.account_id == account_id,
            Notice.kind == kind,
            col(Notice.regeneration_id).is_(None),
            Outbox.kind == outbox.MessageKind.NOTICE_CREATED,
            col(Outbox.delivered_at).is_(None),
            col(Outbox.leased_until).is_(None),
        )
        .limit(1)
        .with_for_update(of=Outbox)
    ).first()
    return None if row is None else str(row[0])
