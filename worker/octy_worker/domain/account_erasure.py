"""Erases what is known about a customer whose key pairs have ended. Ids, times, counts and hashes stay.

The details of the audit log go with it, and its chain stays whole: an entry holds a commitment to its detail.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import delete, or_, update
from sqlmodel import Session, col, select

from octy_middleware.db.database import mark_erased
from octy_middleware.db.models import (
    Account,
    Attempt,
    AuditEntry,
    Incident,
    IncidentCount,
    IncidentEvent,
    KeyPair,
    Mail,
    Notice,
    OutcomeMinute,
    Regeneration,
    StaffOrder,
    Streak,
    Webhook,
)
from octy_middleware.states import KeyPairState, MailState, WebhookState
from octy_worker.access.order_states import RECEIVED, REFUSED, USED
from octy_worker.audit import repository as audit
from octy_worker.audit.chain import ERASED

ERASED_ADDRESS = "erased@erased.invalid"
"""In place of a mail address. RFC 2606: no mail server accepts it."""
_PREFIX = "erased-"
_FREE_TEXT = ("reason", "why")  # of a timeline's details
_ABOUT_ACCOUNTS = ("accounts.", "keys.", "webhooks.")  # actions whose subject may be an account's reference


def is_erased(account: Account) -> bool:
    """Return whether an account was erased."""
    return account.reference == f"{_PREFIX}{account.id}"


def erasure_obstacle(session: Session, account: Account) -> str:
    """Return why an account can't be erased now and what to do; empty when it can."""
    of_account = {
        "it has a key pair that is not revoked → `octy keys revoke`, for each": (
            KeyPair.account_id, col(KeyPair.state) != KeyPairState.RETIRED,
        ),
        "it has an open incident → `octy incidents decide`, or wait until it is closed": (
            Incident.account_id, col(Incident.closed_at).is_(None),
        ),
        "new keys of it are being delivered → `octy keys revoke` ends that": (
            Regeneration.account_id, col(Regeneration.finished_at).is_(None),
        ),
        "a mail to it is not sent yet → try again in some minutes": (
            Mail.account_id, col(Mail.state) == MailState.PENDING,
        ),
        "a webhook to it is not sent yet → try again in some minutes": (
            Webhook.account_id, col(Webhook.state) == WebhookState.PENDING,
        ),
    }  # fmt: skip
    for why, (owner, condition) in of_account.items():
        if session.exec(select(owner).where(owner == account.id, condition).limit(1)).first() is not None:
            return why
    return ""


def erase_account(
    session: Session, account: Account, *, actor: str, reason: str, now: float, order_id: str = ""
) -> int:
    """Erase contact data, sources of requests, free text of staff, and details of the audit log.

    Returns how many entries of the log lost their detail. The caller has checked that there is no `erasure_obstacle`.
    """
    of_account = {
        table: list(session.exec(select(table.id).where(table.account_id == account.id)))
        for table in (KeyPair, Incident, Regeneration, Notice)
    }
    public_keys = list(session.exec(select(KeyPair.public_key).where(KeyPair.account_id == account.id)))
    _erase_requests(session, public_keys, of_account[Incident])
    _erase_texts(session, account, of_account[Incident])
    ids = [one for found in of_account.values() for one in found]
    subjects = (account.id, *public_keys, *ids)
    by_reference = _orders_by_reference(session, account.reference)
    orders = _erase_orders(session, subjects, by_reference, but=order_id)
    entries = [seq for subject in subjects for seq in audit.erase_details(session, subject)]
    entries += [seq for order in by_reference for seq in audit.erase_details(session, account.reference, order)]
    # An order to add an account names none, and its receipt has its reason.
    entries += audit.erase_details_of_orders(session, orders, (RECEIVED, USED, REFUSED))
    _erase_contact(session, account)
    mark_erased(session.connection())
    audit.append(
        session, ERASED, actor=actor, subject=account.id, order_id=order_id,
        detail={"reason": reason, "details": len(entries), "entries": sorted(entries), "orders": orders}, now=now,
    )  # fmt: skip
    return len(entries)


def _erase_requests(session: Session, public_keys: Iterable[str], incident_ids: Iterable[str]) -> None:
    """Delete where requests came from."""
    keys = list(public_keys)
    connection = session.connection()
    for table in (Attempt, OutcomeMinute, Streak):
        connection.execute(delete(table).where(col(table.public_key).in_(keys)))
    connection.execute(delete(IncidentCount).where(col(IncidentCount.subject).in_([*keys, *incident_ids])))


def _erase_texts(session: Session, account: Account, incident_ids: Iterable[str]) -> None:
    """Erase what staff wrote about the customer, and addresses in notices."""
    for event in session.exec(select(IncidentEvent).where(col(IncidentEvent.incident_id).in_(list(incident_ids)))):
        event.detail = {name: value for name, value in event.detail.items() if name not in _FREE_TEXT}
    for notice in session.exec(select(Notice).where(Notice.account_id == account.id)):
        notice.detail = _without_texts(notice.detail)
    session.flush()
    session.connection().execute(
        update(Regeneration).where(col(Regeneration.account_id) == account.id).values(reason="")
    )


def _orders_by_reference(session: Session, reference: str) -> list[str]:
    """Return the orders about the account that name it by its reference.

    Only those of actions about accounts: a reference is any text, and may be a staff member's handle or another id.
    """
    about_accounts = or_(*(col(StaffOrder.action).startswith(prefix) for prefix in _ABOUT_ACCOUNTS))
    return list(session.exec(select(StaffOrder.id).where(StaffOrder.subject == reference, about_accounts)))


def _erase_orders(session: Session, subjects: Collection[str], order_ids: Collection[str], *, but: str) -> list[str]:
    """Erase these orders and those about these subjects, and return their ids: their text has a reason.

    Actor, action and certificate stay.
    """
    of_entries = select(AuditEntry.order_id).where(col(AuditEntry.subject).in_(subjects), AuditEntry.order_id != "")
    about = or_(
        col(StaffOrder.subject).in_(subjects), col(StaffOrder.id).in_(of_entries), col(StaffOrder.id).in_(order_ids)
    )
    which = (about, col(StaffOrder.id) != but)
    erased = list(session.exec(select(StaffOrder.id).where(*which).order_by(col(StaffOrder.id))))
    texts = dict.fromkeys(("body", "private", "signature", "refusal", "output"), "")
    session.connection().execute(update(StaffOrder).where(*which).values(**texts))
    return erased


def _without_texts(detail: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in detail.items() if name not in _FREE_TEXT}
    return {name: ERASED_ADDRESS if isinstance(value, str) and "@" in value else value for name, value in shown.items()}


def _erase_contact(session: Session, account: Account) -> None:
    account.reference = f"{_PREFIX}{account.id}"
    account.contact_name = account.contact_surname = account.webhook_url = account.authenticated_id_key = ""
    account.contact_email_address = account.security_email = ERASED_ADDRESS
    account.contact_changed_at = account.contact_takes_effect_at = None
    account.contact_history = []
    session.add(account)
    session.flush()
