"""Loads the facts of a mail from the database."""

from typing import assert_never

from sqlmodel import Session

from octy_middleware.db.models import Account, Incident, Notice, Regeneration
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.mail.facts.drafts import MailDraft
from octy_worker.mail.facts.incidents import add_incidents, load_incident_draft
from octy_worker.mail.facts.keys import load_keys_draft
from octy_worker.mail.facts.notices import load_notice_draft
from octy_workflows.messages import MailKind, SendMailInput

__all__ = ["MailDraft", "add_incidents", "load_draft", "subject_exists"]


def load_draft(
    session: Session, links: Links, order: SendMailInput, now: float, *, sealer: Sealer | None = None
) -> MailDraft | None:
    """Return the draft of a mail as of `now`, or None when its rows do not exist.

    A mail with a secret needs a `sealer`.
    """
    match order.kind:
        case MailKind.ALERT | MailKind.REMINDER:
            return load_incident_draft(session, links, order, now)
        case MailKind.NEW_KEYS | MailKind.NEW_KEYS_INSIDE | MailKind.STILL_USED | MailKind.KEYS_RETIRED:
            return load_keys_draft(session, links, sealer, order, now)
        case (
            MailKind.EXPOSED
            | MailKind.KEYS_ADDED
            | MailKind.CONTACT_CHANGED
            | MailKind.NEW_CONTACT
            | MailKind.WEBHOOK_CHANGED
        ):
            return load_notice_draft(session, links, order, now)
        case MailKind.ACCOUNT_NOTICE:  # never ordered: it is sent with another mail
            return None
        case unknown:  # pragma: no cover - there is no other kind
            assert_never(unknown)


def subject_exists(session: Session, order: SendMailInput) -> bool:
    """Return whether the subject of the order is in this database."""
    return any(session.get(table, order.subject_id) for table in (Incident, Regeneration, Notice, Account))
