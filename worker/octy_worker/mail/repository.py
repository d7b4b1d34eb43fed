"""The `mail` table: a row is written before sending and completed after it.

The daily cap counts reminders and notices that were sent in the last 24 hours, and those that became pending since
then. A pending mail that was not sent for a whole day no longer counts; its next attempt counts again. Alerts have no
cap and do not count. The first alert of an incident is handled in `alert_grouping`.
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
    """A mail to send, as its row stores it. `cap`: capped mails for the account in 24 hours; None: unlimited."""

    key: str
    account_id: str
    incident_id: str | None
    kind: MailKind
    message_id: str
    cap: int | None


@dataclass(frozen=True, slots=True)
class MailStatus:
    """The state of a mail. Pending: it is to be sent now. `code`: of the last error."""

    state: MailState
    code: str = ""


def copy_key(key: str, number: int) -> str:
    """Return the key of a mail's copy to another address. Copies do not count against the cap."""
    return f"{key}{_COPY}{number}"


def begin_send(session: Session, spec: MailSpec, now: float) -> MailStatus:
    """Write the row before an attempt, and return its state. Sent and failed are final; skipped mails are retried."""
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
        mail.delivery_attempts, mail.attempted_at = mail.delivery_attempts + 1, time
    session.add(mail)
    return status_of(mail)


def skip(session: Session, spec: MailSpec, reason: str, now: float) -> MailStatus:
    """Record why this mail is not sent, unless it was sent or refused before; return its state."""
    mail = session.get(Mail, spec.key) or new_row(spec, utc(now))
    if mail.state not in FINAL:
        mail.state, mail.last_error = MailState.SKIPPED, reason
    session.add(mail)
    return status_of(mail)


def complete(session: Session, key: str, state: MailState, now: float, *, code: str = "") -> None:
    """Record the result of sending: sent, failed permanently, or still pending with the error's code."""
    mail = session.get_one(Mail, key)
    if mail.state == MailState.SENT:  # a concurrent attempt was faster
        return
    mail.state = state
    mail.last_error = code
    mail.sent_at = utc(now) if state is MailState.SENT else None
    session.add(mail)


def lock_account(session: Session, account_id: str) -> None:
    """Lock the account's row, so that concurrent mails of one account see each other's rows."""
    session.exec(select(Account.id).where(Account.id == account_id).with_for_update()).one()


def copy_pattern() -> str:
    """Return the LIKE pattern for keys of copies."""
    return f"%{_COPY}%"


def status_of(mail: Mail) -> MailStatus:
    """Return the state of a row."""
    return MailStatus(MailState(mail.state), mail.last_error)


def new_row(spec: MailSpec, time: datetime) -> Mail:
    """Return a new pending row."""
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
