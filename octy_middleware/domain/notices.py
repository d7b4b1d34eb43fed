"""Notices: what a customer is told that is no case, put down in the transaction of its cause.

Here: the kinds, what each one's row says, and how often. Not here: mail, pages and workflows (the worker's), and
what is a failed attempt (`ledger`).

`Notice.detail` holds, by kind:
  exposed          source, user_agent, request_id
  contact_changed  old (the security address), new, others (the further addresses of the last 14 days);
                   actor, reason: of the support staff who changed it, and only then
  keys_added       public_keys (the first ones, separated by spaces), count
  webhook_changed  nothing: a URL may hold a password
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, or_, update
from sqlmodel import col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import KeyPair, Notice, Outbox
from octy_middleware.domain import outbox, webhook_events
from octy_middleware.states import NoticeKind

MAX_NAMED_KEYS = 10  # public keys that a notice of added pairs names
EXPOSURE_NOTICE_INTERVAL = 86_400.0  # seconds between two notices about one pair


def record_exposure(connection: Connection, pair_id: str, detail: Mapping[str, str], now: float) -> bool:
    """Mark a pair that came over plain HTTP, and have its customer told; True when this call did it.

    At most once a day and pair: one conditional UPDATE decides, however many processes see it.
    """
    marked = connection.execute(
        update(KeyPair)
        .where(
            col(KeyPair.id) == pair_id,
            or_(col(KeyPair.exposed_at).is_(None), col(KeyPair.exposed_at) <= utc(now - EXPOSURE_NOTICE_INTERVAL)),
        )
        .values(exposed_at=utc(now))
        .returning(col(KeyPair.account_id))
    ).first()
    if marked is None:
        return False
    create_notice(connection, NoticeKind.EXPOSED, marked[0], now, detail, key_pair_id=pair_id)
    return True


def record_added_keys(
    connection: Connection, account_id: str, first_pair_id: str, public_keys: Sequence[str], now: float
) -> None:
    """Have a customer told that an import gave his account further pairs."""
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
    """Put one notice down with its message for the worker, and its webhook; return its id.

    One about the whole account and of the same kind, which no worker has taken up yet, is updated instead: its mails
    tell the latest.
    """
    waiting = None if key_pair_id else _undelivered_notice(connection, kind, account_id)
    if waiting is not None:
        connection.execute(update(Notice).where(col(Notice.id) == waiting).values(detail=dict(detail), at=utc(now)))
        return waiting
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
    """Return the notice whose message lies in the outbox, untouched, and keep relays off it until the commit."""
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
