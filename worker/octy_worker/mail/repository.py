"""The rows of mails: put down before sending, completed after.

Here: every step of the `mail` table. Not here: sending, and what a mail says.

The daily cap counts the reminders and notices that went out in the last 24 hours, and those that are about to go out
since then. A reservation that found no server for a whole day lapses, and is made anew with the next try. Alerts have
no cap, and take no place under it: nobody can make one go unsent. The first alert of an incident is in `joining`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, and_, col, func, or_, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Mail
from octy_middleware.states import MailState
from octy_workflows.messages import DAILY_CAP, MailKind

CAPPED = (
    MailKind.REMINDER,
    MailKind.EXPOSED,
    MailKind.CONTACT_CHANGED,
    MailKind.NEW_CONTACT,
    MailKind.WEBHOOK_CHANGED,
)
_WINDOW = timedelta(hours=24)
_COPY = "/copy-"
FINAL = (MailState.SENT, MailState.FAILED)


@dataclass(frozen=True, slots=True)
class MailSpec:
    """A mail to be, as its row says it. `cap`: how many such mails the account may get in 24 hours; None: any."""

    key: str
    account_id: str
    incident_id: str | None
    kind: MailKind
    message_id: str
    cap: int | None


@dataclass(frozen=True, slots=True)
class MailStatus:
    """Where a mail stands: pending means that it is to be sent now."""

    state: MailState
    code: str = ""


def copy_key(key: str, number: int) -> str:
    """Return the key of a mail's copy to a further address. Copies don't count against the cap."""
    return f"{key}{_COPY}{number}"


def begin_send(session: Session, spec: MailSpec, now: float) -> MailStatus:
    """Put the intent down, or find it. Sent and failed are final; skipped ones get another chance."""
    lock_account(session, spec.account_id)
    mail = session.get(Mail, spec.key)
    if mail is not None and mail.state in FINAL:
        return status_of(mail)
    time = utc(now)
    if mail is None:
        mail = new_row(spec, time)
    elif mail.state == MailState.SKIPPED or mail.created_at <= time - _WINDOW:
        mail.created_at = time
    full = spec.cap is not None and _count_recent(session, spec, time) >= spec.cap
    mail.state = MailState.SKIPPED if full else MailState.PENDING
    mail.last_error = DAILY_CAP if full else ""
    if not full:
        mail.tries, mail.tried_at = mail.tries + 1, time
    session.add(mail)
    return status_of(mail)


def skip(session: Session, spec: MailSpec, why: str, now: float) -> MailStatus:
    """Put down why this mail is not to be sent any more, or find that it was sent or refused before."""
    mail = session.get(Mail, spec.key) or new_row(spec, utc(now))
    if mail.state not in FINAL:
        mail.state, mail.last_error = MailState.SKIPPED, why
    session.add(mail)
    return status_of(mail)


def complete(session: Session, key: str, state: MailState, now: float, *, code: str = "") -> None:
    """Note how sending ended: sent, failed for good, or still pending with the fault's code."""
    mail = session.get_one(Mail, key)
    if mail.state == MailState.SENT:  # an overlapping try was faster
        return
    mail.state = state
    mail.last_error = code
    mail.sent_at = utc(now) if state is MailState.SENT else None
    session.add(mail)


def lock_account(session: Session, account_id: str) -> None:
    """Have two mails of one account wait for each other, so that each sees what the other one put down."""
    session.exec(select(Account.id).where(Account.id == account_id).with_for_update()).one()


def copy_pattern() -> str:
    """Return the pattern of the keys of copies."""
    return f"%{_COPY}%"


def status_of(mail: Mail) -> MailStatus:
    """Return where a mail stands by its row."""
    return MailStatus(MailState(mail.state), mail.last_error)


def new_row(spec: MailSpec, time: datetime) -> Mail:
    """Return a new row, pending."""
    return Mail(
        key=spec.key,
        account_id=spec.account_id,
        incident_id=spec.incident_id,
        kind=spec.kind,
        message_id=spec.message_id,
        created_at=time,
    )


def _count_recent(session: Session, spec: MailSpec, time: datetime) -> int:
    since = time - _WINDOW
    counted = or_(
        and_(col(Mail.state) == MailState.SENT, col(Mail.sent_at) > since),
        and_(col(Mail.state) == MailState.PENDING, col(Mail.created_at) > since),
    )
    return session.exec(
        select(func.count())
        .select_from(Mail)
        .where(
            Mail.account_id == spec.account_id,
            Mail.key != spec.key,
            col(Mail.kind).in_(CAPPED),
            col(Mail.key).not_like(copy_pattern()),
            counted,
        )
    ).one()
