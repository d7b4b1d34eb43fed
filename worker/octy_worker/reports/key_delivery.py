"""The state of a delivery of new keys, read from its regeneration, link and mails."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Mail, Regeneration, SealedSecret
from octy_middleware.domain.accounts import security_addresses
from octy_middleware.states import MailState
from octy_worker.domain.regenerations import find_uncollected, waiting_incidents
from octy_worker.errors import RefusedError
from octy_worker.reports.queries import account_of
from octy_workflows.messages import MailKind

_KEYS_MAILS = (MailKind.NEW_KEYS, MailKind.NEW_KEYS_INSIDE)


class DeliveryStatus(StrEnum):
    """The state of a delivery."""

    PREPARING = "preparing"  # no worker has issued the key pair, or its mail, yet
    RETRYING = "retrying"  # the mail server has not accepted the newest mail yet; it is retried
    MAILED = "mailed"  # the newest mail was accepted, and its link works
    REFUSED = "refused"  # the newest mail was rejected for good
    EXPIRED = "expired"  # the newest link has expired
    COLLECTED = "collected"
    ENDED = "ended"  # abandoned, or superseded by a later order, before it was collected


@dataclass(frozen=True, slots=True)
class KeyDelivery:
    """The delivery of one regeneration's keys. `mail_error`: the mail server's answer to the newest mail, as a code."""

    regeneration_id: str
    status: DeliveryStatus
    mail_error: str
    link_expires_at: datetime | None
    collected_at: datetime | None


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """Uncollected keys, whose link can be renewed. `incident_id`: an incident that waits for them.

    `address`: where their mail goes; from `takes_effect_at` on it goes to `next_address`, when the contact was changed.
    """

    account: str
    address: str
    next_address: str | None
    takes_effect_at: datetime | None
    incident_id: str | None
    delivery: KeyDelivery


def delivery_of(session: Session, regeneration_id: str, now: float) -> KeyDelivery:
    """Return how far the delivery of a regeneration that exists has come."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    sealed = session.get(SealedSecret, regeneration_id)
    mail = _newest_mail(session, regeneration)
    return KeyDelivery(
        regeneration_id,
        _status(regeneration, sealed, mail, now),
        mail.last_error if mail else "",
        sealed.expires_at if sealed else None,
        regeneration.collected_at,
    )


def _status(regeneration: Regeneration, sealed: SealedSecret | None, mail: Mail | None, now: float) -> DeliveryStatus:
    if regeneration.collected_at is not None:
        return DeliveryStatus.COLLECTED
    if regeneration.finished_at is not None:
        return DeliveryStatus.ENDED
    if sealed is None or mail is None:
        return DeliveryStatus.PREPARING
    if mail.state == MailState.FAILED:
        return DeliveryStatus.REFUSED
    if sealed.expires_at <= utc(now):
        return DeliveryStatus.EXPIRED
    return DeliveryStatus.MAILED if mail.state == MailState.SENT else DeliveryStatus.RETRYING


def _newest_mail(session: Session, regeneration: Regeneration) -> Mail | None:
    """Return the last mail that was to bring the keys; a mail's key is "<regeneration id>/<kind>/<number>"."""
    mails = session.exec(
        select(Mail).where(
            Mail.account_id == regeneration.account_id,
            col(Mail.kind).in_(_KEYS_MAILS),
            col(Mail.key).startswith(f"{regeneration.id}/"),
        )
    ).all()
    return max(mails, key=lambda mail: int(mail.key.rsplit("/", 1)[1]), default=None)


def newest_delivery(session: Session, account_id: str, now: float) -> KeyDelivery | None:
    """Return the delivery of the account's newest keys; None when it never ordered any."""
    newest = session.exec(
        select(Regeneration)
        .where(Regeneration.account_id == account_id)
        .order_by(col(Regeneration.opened_at).desc(), col(Regeneration.id).desc())
        .limit(1)
    ).first()
    return None if newest is None else delivery_of(session, newest.id, now)


def pending_delivery(session: Session, reference: str, now: float, *, ordered: str | None = None) -> PendingDelivery:
    """Return the keys of this account that can be sent again. Raises RefusedError when there are none.

    `ordered`: the regeneration of an order that is repeated; if it is this account's, it may be over.
    """
    account = account_of(session, reference)
    known = session.get(Regeneration, ordered) if ordered else None
    pending = known if known and known.account_id == account.id else find_uncollected(session, account.id)
    if pending is None:
        raise RefusedError(_why_nothing_waits(session, account, now))
    waiting = waiting_incidents(session, pending.id)
    address = security_addresses(account, now)[0]
    moves = address != account.contact_email_address
    return PendingDelivery(
        account=account.reference,
        address=address,
        next_address=account.contact_email_address if moves else None,
        takes_effect_at=account.contact_takes_effect_at if moves else None,
        incident_id=waiting[0] if waiting else None,
        delivery=delivery_of(session, pending.id, now),
    )


def _why_nothing_waits(session: Session, account: Account, now: float) -> str:
    newest = newest_delivery(session, account.id, now)
    if newest is None:
        why = "none were ever ordered here"
    elif newest.status is DeliveryStatus.COLLECTED:
        why = "the customer has collected the last ones, and a secret is shown once"
    else:
        why = "the last ones were never collected and have ended"
    return (
        f"no new keys of {account.reference} wait to be collected: {why} → for new ones: "
        f"octy keys regenerate --account {account.reference} --reason …"
    )
