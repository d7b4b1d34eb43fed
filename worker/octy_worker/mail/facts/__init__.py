"""From rows to the facts of a letter.

Here: which kind of mail is about what. Not here: SQL (`octy_worker.domain.incidents`, `regenerations`, `notices`), sentences
(`mail.letters`, `mail.templates`).

    shapes    PURE  what each kind of letter tells
    drafts    a mail to be, and how text from outside is cut
    cases     alerts and reminders
    keys      new keys, the last use and the end of old ones
    notices   what is no case: exposed pairs, added pairs, changed addresses
    digest    PURE  what the daily digest to support staff tells
"""

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
    """Gather what the order's mail tells, as of `now`. None when the rows that it speaks of are not there.

    Only with a `sealer` can a mail be drafted that has a secret in it.
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
        case MailKind.ACCOUNT_NOTICE:  # never ordered: it goes beside another mail
            return None
        case unknown:
            assert_never(unknown)


def subject_exists(session: Session, order: SendMailInput) -> bool:
    """Tell whether the order's subject is in this database."""
    return any(session.get(table, order.subject_id) for table in (Incident, Regeneration, Notice, Account))
