"""Notices in SQL: what a customer was notified of apart from incidents, and the new keys ordered on a notice's page.

The middleware creates notices; when a mail is due is decided by `octy_workflows.notice`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import update
from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, KeyPair, Notice, Regeneration
from octy_middleware.domain import key_pairs
from octy_middleware.domain.accounts import SECURITY_EMAIL_DELAY, STAFF_SECURITY_EMAIL_DELAY, security_addresses
from octy_middleware.states import KeyPairCause, KeyPairState, NoticeKind
from octy_worker.domain.incidents import CUSTOMER
from octy_worker.domain.regenerations import current_pair, find_uncollected, open_regeneration, replacement_of

_BEING_ORDERED = ""  # the id of an order within its transaction
_CAUSES = {
    NoticeKind.EXPOSED: KeyPairCause.EXPOSURE,
    NoticeKind.CONTACT_CHANGED: KeyPairCause.CUSTOMER,
    NoticeKind.WEBHOOK_CHANGED: KeyPairCause.CUSTOMER,
    NoticeKind.KEYS_ADDED: KeyPairCause.CUSTOMER,
}


class OrderRefusal(StrEnum):
    """Why no new keys can be ordered on a notice's page."""

    EXPIRED = "expired"  # the link
    ORDERED = "ordered"  # on this very page
    REPLACED = "replaced"  # the pair is being or was replaced by another order
    ENDED = "ended"  # there is no pair to replace any more
    MOVED = "moved"  # new keys would go to the new address by now


@dataclass(frozen=True, slots=True)
class NoticeView:
    """What pages and mails show of a notice.

    `pair`: the one that its page is about; None when the account has none. `regeneration`: what replaces that pair.
    `further`: other pairs in use, which stay as they are.
    """

    notice: Notice
    kind: NoticeKind
    account: Account
    pair: KeyPair | None
    regeneration: Regeneration | None
    further: int

    @property
    def follows_at(self) -> datetime:
        """When security mails follow to the new address, after a change."""
        return self.notice.at + (STAFF_SECURITY_EMAIL_DELAY if self.by_staff else SECURITY_EMAIL_DELAY)

    @property
    def by_staff(self) -> bool:
        """Whether the change was made by support staff."""
        return "actor" in self.notice.detail


def load_notice(session: Session, notice_id: str) -> NoticeView | None:
    """Return the notice, or None."""
    notice = session.get(Notice, notice_id)
    if notice is None:
        return None
    regeneration = _regeneration_of(session, notice)
    pair_id = notice.key_pair_id if regeneration is None else regeneration.old_pair_id
    if notice.key_pair_id is None and regeneration is None:
        pair = current_pair(session, notice.account_id)
    else:
        pair = None if pair_id is None else session.get(KeyPair, pair_id)
    return NoticeView(
        notice=notice,
        kind=NoticeKind(notice.kind),
        account=session.get_one(Account, notice.account_id),
        pair=pair,
        regeneration=regeneration,
        further=_count_further(session, notice.account_id, regeneration, pair),
    )


def _regeneration_of(session: Session, notice: Notice) -> Regeneration | None:
    """Return what was ordered on the notice's page; else what replaces its pair, or any pair when it names none."""
    if notice.regeneration_id:
        return session.get(Regeneration, notice.regeneration_id)
    if notice.key_pair_id is None:
        return find_uncollected(session, notice.account_id)
    return replacement_of(session, notice.key_pair_id)


def _count_further(session: Session, account_id: str, regeneration: Regeneration | None, pair: KeyPair | None) -> int:
    own = {pair.id if pair else None, regeneration.new_pair_id if regeneration else None}
    query = select(func.count()).where(KeyPair.account_id == account_id, KeyPair.state == KeyPairState.ACTIVE)
    return session.exec(query.where(col(KeyPair.id).not_in([pair_id for pair_id in own if pair_id]))).one()


def is_superseded(view: NoticeView) -> bool:
    """Return whether what the notice says is no longer so: its pair has ended, or the address was changed once more.

    A change that was reverted sends no mail. A later change of it has a notice of its own. What a webhook
    URL was for a while may have received events: the customer is always notified of that.
    """
    if view.kind in (NoticeKind.EXPOSED, NoticeKind.KEYS_ADDED):
        return view.pair is None or view.pair.state == KeyPairState.RETIRED
    if view.kind is NoticeKind.WEBHOOK_CHANGED:
        return False
    account = view.account
    return (account.contact_changed_at, account.contact_email_address) != (view.notice.at, view.notice.detail["new"])


def order_refusal(view: NoticeView, *, ttl: float, now: float) -> OrderRefusal | None:
    """Return why new keys can't be ordered, or None; `ttl`: of the link, in seconds."""
    if utc(now) >= view.notice.at + timedelta(seconds=ttl):
        return OrderRefusal.EXPIRED
    if view.notice.regeneration_id is not None:
        return OrderRefusal.ORDERED
    if view.regeneration is not None:
        return OrderRefusal.REPLACED
    if view.pair is None or view.pair.state == KeyPairState.RETIRED:
        return OrderRefusal.ENDED
    if view.kind is NoticeKind.CONTACT_CHANGED and _old_address_is_left(view, now):
        return OrderRefusal.MOVED
    return None


def _old_address_is_left(view: NoticeView, now: float) -> bool:
    old: str = view.notice.detail["old"]
    return security_addresses(view.account, now)[0] != old


def order_keys(session: Session, notice_id: str, *, leaked: bool, now: float) -> bool:
    """Order new keys for the notice's key pair once, by one conditional UPDATE. True when this call did it.

    With `leaked` the key pair is retired in the same transaction. After a change of contact data any pair may have been
    used for it, so retiring pairs are retired as well.
    """
    view = load_notice(session, notice_id)
    if view is None or view.pair is None:
        return False
    row = update(Notice).where(col(Notice.id) == notice_id)
    unordered = row.where(col(Notice.regeneration_id).is_(None))
    if session.connection().execute(unordered.values(regeneration_id=_BEING_ORDERED)).rowcount != 1:
        return False
    opened = open_regeneration(
        session,
        view.account.id,
        _CAUSES[view.kind],
        old_pair_id=view.pair.id,
        leaked=leaked,
        actor=CUSTOMER,
        now=now,
    )
    if leaked and view.kind is not NoticeKind.EXPOSED:
        _retire_overlapping(session, view.account.id, now)
    session.connection().execute(row.values(regeneration_id=opened.regeneration_id))
    return True


def _retire_overlapping(session: Session, account_id: str, now: float) -> None:
    retiring = select(KeyPair.id).where(KeyPair.account_id == account_id, KeyPair.state == KeyPairState.RETIRING)
    for pair_id in session.exec(retiring).all():
        key_pairs.retire(session.connection(), pair_id, now)
