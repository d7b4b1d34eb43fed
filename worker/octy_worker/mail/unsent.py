"""Queries for mails that were not sent: reminders and notices over the daily cap, and alerts of open incidents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, or_, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, Mail
from octy_middleware.states import MailState
from octy_worker.mail.alert_grouping import alert_key_column, unanswered_incidents
from octy_worker.mail.repository import FINAL
from octy_workflows.messages import DAILY_CAP

_RECENT = timedelta(hours=25)  # each is retried, or no longer needed, within a day


@dataclass(frozen=True, slots=True)
class UnsentAlerts:
    """Open, unanswered incidents whose alert was neither sent nor refused. `oldest`: age of the oldest in seconds."""

    count: int
    oldest: float


def is_capped(now: float) -> ColumnElement[bool]:
    """Return the condition for mails that the daily cap holds back and that are still needed."""
    unanswered = unanswered_incidents().where(Incident.id == Mail.incident_id).exists()
    return (
        (col(Mail.state) == MailState.SKIPPED)
        & (col(Mail.last_error) == DAILY_CAP)
        & (col(Mail.created_at) > utc(now) - _RECENT)
        & or_(col(Mail.incident_id).is_(None), unanswered)
    )


def capped_by_kind(session: Session, now: float) -> Mapping[str, int]:
    """Return the number of mails that the daily cap holds back, by kind."""
    rows = session.exec(select(Mail.kind, func.count()).where(is_capped(now)).group_by(Mail.kind))
    return dict(rows.all())


def unsent_alerts(session: Session, now: float) -> UnsentAlerts:
    """Return how many incidents have an unsent alert, and the age of the oldest."""
    final = select(Mail.key).where(Mail.key == alert_key_column(), col(Mail.state).in_(FINAL)).exists()
    numbers = unanswered_incidents().where(~final).with_only_columns(func.count(), func.min(col(Incident.opened_at)))
    count, oldest = session.connection().execute(numbers).one()
    return UnsentAlerts(count, 0.0 if oldest is None else max(0.0, now - oldest.timestamp()))
