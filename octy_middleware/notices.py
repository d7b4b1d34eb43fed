"""Notices: what a customer is told that is no case, put down in the transaction of its cause.

Here: the two kinds, what each one's row says, and how often. Not here: mail, pages and workflows (the worker's), and
what is a failed attempt (`ledger`).

`Notice.detail` holds, by kind:  exposed: source, client, request_id   contact_changed: old, new (mail addresses)
"""

from collections.abc import Mapping

from sqlalchemy import Connection, insert, or_, update
from sqlmodel import col

from octy_middleware import outbox, webhooks
from octy_middleware.clock import utc, uuid7
from octy_middleware.models import KeyPair, Notice
from octy_middleware.states import NoticeKind

EXPOSED_EVERY = 86_400.0  # seconds between two notices about one pair


def note_exposure(connection: Connection, pair_id: str, detail: Mapping[str, str], now: float) -> bool:
    """Mark a pair that came over plain HTTP, and have its customer told; True when this call did it.

    At most once a day and pair: one conditional UPDATE decides, however many processes see it.
    """
    marked = connection.execute(
        update(KeyPair)
        .where(
            col(KeyPair.id) == pair_id,
            or_(col(KeyPair.exposed_at).is_(None), col(KeyPair.exposed_at) <= utc(now - EXPOSED_EVERY)),
        )
        .values(exposed_at=utc(now))
        .returning(col(KeyPair.account_id))
    ).first()
    if marked is None:
        return False
    give(connection, NoticeKind.EXPOSED, marked[0], now, detail, key_pair_id=pair_id)
    return True


def give(
    connection: Connection,
    kind: NoticeKind,
    account_id: str,
    now: float,
    detail: Mapping[str, str],
    *,
    key_pair_id: str | None = None,
) -> str:
    """Put one notice down with its message for the worker, and its webhook; return its id."""
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
    outbox.put(connection, outbox.Event.NOTICE_GIVEN, notice_id, now)
    webhooks.notice_given(connection, kind, account_id, notice_id, now, pair_id=key_pair_id)
    return notice_id
