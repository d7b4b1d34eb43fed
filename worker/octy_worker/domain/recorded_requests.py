"""What staff has ordered in a case before, as a workflow must know it that is started anew.

Here: two looks at SQL. A case is started once, and then there is nothing to find; should Temporal ever lose its state,
the case goes on with the end that staff gave it, and no mail that is sent again is taken for an earlier one. Not here:
when a workflow is started (`relay`), and what it does with this (`octy_workflows.deadlines` and `letters`).
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
    """Return the highest number of each kind of mail that was ordered for the case."""
    keys = session.exec(select(Mail.key).where(Mail.incident_id == incident_id, col(Mail.kind).in_(_INCIDENT_MAILS)))
    numbers: dict[str, int] = {}
    for key in keys:
        _, kind, number, *_ = key.split("/")  # a copy to a former address has more
        numbers[kind] = max(numbers.get(kind, 0), int(number))
    return numbers
