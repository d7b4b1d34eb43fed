"""What staff has requested for an incident, for a workflow that is started again.

An incident is normally started once, and nothing is found. After Temporal lost its state, the incident continues with
the deadline that staff gave it, and mail numbers are not reused.
"""

from sqlmodel import Session, col, select

from octy_middleware.db.models import IncidentEvent, Mail
from octy_workflows.messages import ExtendedDeadlines, MailKind

_INCIDENT_MAILS = (MailKind.ALERT, MailKind.REMINDER)


def last_extension(session: Session, incident_id: str) -> ExtendedDeadlines | None:
    """Return the deadlines of the last extension, or None when there was none."""
    detail = session.exec(
        select(IncidentEvent.detail)
        .where(IncidentEvent.incident_id == incident_id, IncidentEvent.what == "extended")
        .order_by(col(IncidentEvent.seq).desc())
        .limit(1)
    ).first()
    return None if detail is None else ExtendedDeadlines(float(detail["staff_at"]), float(detail["ends_at"]))


def last_mail_numbers(session: Session, incident_id: str) -> dict[str, int]:
    """Return the highest number of each kind of mail that was requested for the incident."""
    keys = session.exec(select(Mail.key).where(Mail.incident_id == incident_id, col(Mail.kind).in_(_INCIDENT_MAILS)))
    numbers: dict[str, int] = {}
    for key in keys:
        _, kind, number, *_ = key.split("/")  # a copy to a former address has more
        numbers[kind] = max(numbers.get(kind, 0), int(number))
    return numbers
