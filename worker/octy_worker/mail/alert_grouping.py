"""Groups the first alerts of an account's incidents into one mail. The daily cap does not apply to them.

The first alert of an account is sent at once. A later one waits until the group interval since the account's last alert
is over, at most one interval since its incident was opened. The mail then carries the alert of every open, unanswered
incident of the account that has no row yet; their rows are written in the same transaction. A mail that was tried once
keeps its group: a server that accepted it knows its Message-ID and may drop a second mail with more keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, IncidentAnswer, Mail
from octy_middleware.states import MailState
from octy_worker.mail.repository import FINAL, MailSpec, MailStatus, copy_pattern, lock_account, new_row, status_of
from octy_workflows.messages import GROUPED, MailKind

ANSWERED = "answered"
_ACTIVITY_TIMEOUT = timedelta(seconds=60)  # of the activity: after that its worker was killed
_MAX_RETRY_INTERVAL = timedelta(minutes=11)  # the maximum backoff plus one attempt


@dataclass(frozen=True, slots=True)
class GroupWait:
    """How long an alert waits for its group. Seconds; `opened_at` is the incident's time.

    `waited` is what its workflow has waited so far: clocks of hosts may be wrong, and still no alert waits longer than
    the interval.
    """

    interval: float
    opened_at: float
    waited: float

    def until_due(self, last: datetime | None, now: float) -> float:
        """Return the remaining wait in seconds when the account's last alert was sent at `last`."""
        if last is None:
            return 0.0
        due = min(last.timestamp(), self.opened_at) + self.interval
        return max(0.0, min(due - now, self.interval - self.waited))


@dataclass(frozen=True, slots=True)
class AlertSlot:
    """The state of an alert. Pending and `own`: its mail is to be sent now, with the alerts of the incidents `others`.

    Not `own`: another mail carries it. `wait`: seconds until it is due.
    """

    status: MailStatus
    others: tuple[str, ...] = ()
    own: bool = True
    wait: float = 0.0


def alert_key(incident_id: str) -> str:
    """Return the mail key of an incident's first alert."""
    return f"{incident_id}/{MailKind.ALERT}/1"


def alert_key_column() -> ColumnElement[str]:
    """Return the mail key of an incident's first alert as an SQL expression."""
    return col(Incident.id) + f"/{MailKind.ALERT}/1"


def is_unanswered() -> ColumnElement[bool]:
    """Return the condition for an incident, joined with its answer, that has no answer yet."""
    return col(Incident.closed_at).is_(None) & col(IncidentAnswer.answer).is_(None)


def claim_alert(session: Session, spec: MailSpec, waiting: GroupWait, now: float) -> AlertSlot:
    """Start to send an alert with its group, or return its state or its remaining wait."""
    lock_account(session, spec.account_id)
    mail, time = session.get(Mail, spec.key), utc(now)
    if mail is not None and mail.joined_mail:
        if mail.state != MailState.PENDING:
            return AlertSlot(replace(status_of(mail), code=mail.last_error or f"in {mail.joined_mail}"), own=False)
        if _is_being_sent(session, mail, time):
            return AlertSlot(MailStatus(MailState.PENDING, f"in {mail.joined_mail}"), own=False)
    elif mail is not None and mail.state in FINAL:
        return AlertSlot(status_of(mail), _incidents(_grouped_rows(session, mail.key)))
    if mail is None:
        wait = waiting.until_due(_last_alert_at(session, spec.account_id), now)
        if wait > 0:
            return AlertSlot(MailStatus(MailState.PENDING, GROUPED), wait=wait)
        mail, carried = new_row(spec, time), _create_grouped(session, spec, time)
    else:
        carried = _grouped_pending(session, spec.key)
    mail.joined_mail = ""
    for each in (mail, *carried):
        each.delivery_attempts, each.attempted_at, each.last_error = each.delivery_attempts + 1, time, ""
        session.add(each)
    return AlertSlot(status_of(mail), _incidents(carried))


def complete_grouped(session: Session, key: str, state: MailState, now: float, *, code: str = "") -> None:
    """Record the result of a mail for each alert that it carried."""
    for mail in _grouped_rows(session, key):
        if mail.state == MailState.PENDING:
            mail.state, mail.last_error = state, code
            mail.sent_at = utc(now) if state is MailState.SENT else None
            session.add(mail)


def _incidents(mails: Iterable[Mail]) -> tuple[str, ...]:
    return tuple(mail.incident_id for mail in mails if mail.incident_id and mail.state != MailState.SKIPPED)


def unanswered_incidents() -> SelectOfScalar[str]:
    """Return the query for the ids of all unanswered incidents."""
    return (
        select(Incident.id).join(IncidentAnswer, col(IncidentAnswer.incident_id) == Incident.id).where(is_unanswered())
    )


def _create_grouped(session: Session, spec: MailSpec, time: datetime) -> Sequence[Mail]:
    """Return new rows for all alerts that this mail carries, oldest incident first."""
    has_row = select(Mail.key).where(Mail.key == alert_key_column()).exists()
    unalerted = unanswered_incidents().where(
        Incident.account_id == spec.account_id, Incident.id != spec.incident_id, ~has_row
    )
    domain = spec.message_id.rpartition("@")[2].rstrip(">")
    return [
        Mail(
            key=alert_key(incident_id),
            account_id=spec.account_id,
            incident_id=incident_id,
            kind=MailKind.ALERT,
            message_id=f"<{incident_id}.{MailKind.ALERT}.1@{domain}>",
            created_at=time,
            joined_mail=spec.key,
        )
        for incident_id in session.exec(unalerted.order_by(col(Incident.opened_at), col(Incident.id)))
    ]


def _grouped_pending(session: Session, key: str) -> Sequence[Mail]:
    """Return the pending alerts of the mail; alerts whose incident was answered meanwhile become skipped."""
    rows = [mail for mail in _grouped_rows(session, key) if mail.state == MailState.PENDING]
    open_ones = set(
        session.exec(unanswered_incidents().where(col(Incident.id).in_([mail.incident_id for mail in rows])))
    )
    for mail in rows:
        if mail.incident_id not in open_ones:
            mail.state, mail.last_error = MailState.SKIPPED, ANSWERED
            session.add(mail)
    return [mail for mail in rows if mail.incident_id in open_ones]


def _grouped_rows(session: Session, key: str) -> Iterable[Mail]:
    account = select(Mail.account_id).where(Mail.key == key).scalar_subquery()
    return session.exec(
        select(Mail).where(Mail.account_id == account, Mail.joined_mail == key).order_by(col(Mail.key))
    ).all()


def _is_being_sent(session: Session, mail: Mail, time: datetime) -> bool:
    """Return whether the mail that carries this alert is still being sent; if not, the alert is sent by itself."""
    carrier = session.get_one(Mail, mail.joined_mail)
    assert mail.attempted_at is not None  # it joined a mail that was tried at that moment
    waits = session.exec(unanswered_incidents().where(Incident.id == carrier.incident_id)).first() is not None
    return mail.attempted_at > time - (_MAX_RETRY_INTERVAL if waits else _ACTIVITY_TIMEOUT)


def _last_alert_at(session: Session, account_id: str) -> datetime | None:
    """Return the time of the last attempt of the account's last alert."""
    return session.exec(
        select(func.max(col(Mail.attempted_at))).where(
            Mail.account_id == account_id,
            Mail.kind == MailKind.ALERT,
            col(Mail.state).in_([MailState.SENT, MailState.PENDING]),
            col(Mail.key).not_like(copy_pattern()),
        )
    ).one()
