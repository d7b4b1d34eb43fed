"""Stalled and failed work, read from SQL: alerts, incidents, keys, mails, webhooks and commits of app processes.

For metrics and `octy doctor`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, or_, select

from octy_middleware._version import __version__
from octy_middleware.clock import utc
from octy_middleware.db.models import AppProcess, Incident, IncidentAnswer, KeyPair, Mail, Regeneration, Webhook
from octy_middleware.states import IncidentState, KeyPairState, MailState, RegenerationState, WebhookState
from octy_worker.mail.alert_grouping import alert_key_column, is_unanswered
from octy_worker.reports.queries import IS_OPEN, count_rows

ALERT_LATE = 1200.0  # seconds: held for 15 minutes and joined for 5 at most
STALLED = timedelta(minutes=10)  # a workflow acts within seconds; a doubled backoff and a restart fit in
_RETRYING = timedelta(minutes=15)  # a mail that was tried for longer
_WEBHOOK_RETRYING = timedelta(hours=1)
_RECENT = timedelta(minutes=10)  # of app processes and their commits
_DAY = timedelta(days=1)
_GIVEN_UP = timedelta(days=4)  # events are tried for three days; a failure has no time of its own
_UNCOLLECTED = timedelta(days=3)  # after the last repeat of the mail
_FORGOTTEN = timedelta(days=60)  # then the customer is taken for gone

_MOVING = (IncidentState.OPENING, IncidentState.WAITING, IncidentState.NEEDS_STAFF)
_USABLE = (KeyPairState.ACTIVE, KeyPairState.RETIRING)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many wait, and the age of the oldest in seconds."""

    count: int
    oldest: float


@dataclass(frozen=True, slots=True)
class StalledWork:
    """Counts of stalled and failed work; zero without problems."""

    alerts_failed: int  # of open, unanswered incidents: refused for good
    incidents_stalled: Backlog  # SQL says that something happened, and nothing followed
    keys_refused: int  # new keys whose mail was refused for good
    keys_uncollected: int  # customers without a usable key pair: the new one was not collected
    mails_retrying: Backlog
    mails_refused: int  # within a day
    webhooks_retrying: Backlog
    webhooks_failed: int  # given up, of the last four days
    apps_failing: int  # processes whose commit failed within ten minutes
    apps_of_other_release: int


def read_stalled_work(session: Session, now: float) -> StalledWork:
    """Return the counts as of now."""
    return StalledWork(
        alerts_failed=_alerts_failed(session),
        incidents_stalled=_incidents_stalled(session, now),
        keys_refused=_keys_refused(session),
        keys_uncollected=_keys_uncollected(session, now),
        mails_retrying=_retrying(session, Mail, MailState.PENDING, _RETRYING, now),
        mails_refused=count_rows(
            session, Mail, Mail.state == MailState.FAILED, col(Mail.attempted_at) > utc(now) - _DAY
        ),
        webhooks_retrying=_retrying(session, Webhook, WebhookState.PENDING, _WEBHOOK_RETRYING, now),
        webhooks_failed=count_rows(
            session, Webhook, Webhook.state == WebhookState.FAILED, col(Webhook.created_at) > utc(now) - _GIVEN_UP
        ),
        apps_failing=count_rows(session, AppProcess, col(AppProcess.failed_at) > utc(now) - _RECENT, _is_recent(now)),
        apps_of_other_release=count_rows(session, AppProcess, AppProcess.release != __version__, _is_recent(now)),
    )


def count_waiting_for_staff(session: Session) -> int:
    """Return how many incidents wait for support staff."""
    return count_rows(session, Incident, Incident.state == IncidentState.NEEDS_STAFF, IS_OPEN)


def _is_recent(now: float) -> ColumnElement[bool]:
    return col(AppProcess.seen_at) > utc(now) - _RECENT


def _retrying(
    session: Session, table: type[Mail | Webhook], pending: MailState | WebhookState, longer_than: timedelta, now: float
) -> Backlog:
    """Return those that were tried, are not delivered, and are older than this."""
    waiting = (col(table.state) == pending, col(table.delivery_attempts) > 0)
    late = col(table.created_at) < utc(now) - longer_than
    count, oldest = session.exec(select(func.count(), func.min(table.created_at)).where(*waiting, late)).one()
    return Backlog(count, _age(oldest, now))


def _alerts_failed(session: Session) -> int:
    query = (
        select(func.count())
        .select_from(Incident)
        .join(IncidentAnswer, col(IncidentAnswer.incident_id) == Incident.id)
        .join(Mail, col(Mail.key) == alert_key_column())
        .where(is_unanswered(), Mail.state == MailState.FAILED)
    )
    return session.exec(query).one()


def is_stalled(now: float) -> ColumnElement[bool]:
    """Return what is true of an open incident, joined with its answer, whose next step is missing.

    It was answered and did not move, or the regeneration that it waits for has ended.
    """
    late = utc(now) - STALLED
    ended = (
        select(Regeneration.id)
        .where(Regeneration.id == Incident.regeneration_id, col(Regeneration.finished_at) < late)
        .exists()
    )
    answered = col(IncidentAnswer.answered_at) < late
    return IS_OPEN & or_(
        answered & col(Incident.state).in_(_MOVING), (col(Incident.state) == IncidentState.REGENERATING) & ended
    )


def _incidents_stalled(session: Session, now: float) -> Backlog:
    count, oldest = session.exec(
        select(func.count(), func.min(IncidentAnswer.answered_at))
        .select_from(Incident)
        .join(IncidentAnswer, col(IncidentAnswer.incident_id) == Incident.id)
        .where(is_stalled(now))
    ).one()
    return Backlog(count, _age(oldest, now))


def _keys_refused(session: Session) -> int:
    """Count the new keys on their way whose mail was refused at every try."""
    mails = select(Mail.key).where(
        Mail.account_id == Regeneration.account_id, func.substr(Mail.key, 1, 36) == Regeneration.id
    )
    query = (
        select(func.count())
        .select_from(Regeneration)
        .where(
            col(Regeneration.collected_at).is_(None),
            col(Regeneration.finished_at).is_(None),
            mails.where(Mail.state == MailState.FAILED).exists(),
            ~mails.where(Mail.state == MailState.SENT).exists(),
        )
    )
    return session.exec(query).one()


def _keys_uncollected(session: Session, now: float) -> int:
    """Count the customers who can't authenticate: their last pair is cut and the new one was never collected."""
    old, other = aliased(KeyPair), aliased(KeyPair)
    usable = select(other.id).where(
        other.account_id == Regeneration.account_id,
        col(other.state).in_(_USABLE),
        or_(col(Regeneration.new_pair_id).is_(None), other.id != Regeneration.new_pair_id),
    )
    query = (
        select(func.count(func.distinct(Regeneration.account_id)))
        .select_from(Regeneration)
        .outerjoin(old, col(old.id) == Regeneration.old_pair_id)
        .where(
            col(Regeneration.collected_at).is_(None),
            col(Regeneration.state).in_([RegenerationState.SENT, RegenerationState.ABANDONED]),
            col(Regeneration.opened_at).between(utc(now) - _FORGOTTEN, utc(now) - _UNCOLLECTED),
            or_(col(old.id).is_(None), old.state == KeyPairState.RETIRED),
            ~usable.exists(),
        )
    )
    return session.exec(query).one()


def _age(at: datetime | None, now: float) -> float:
    return 0.0 if at is None else max(0.0, now - at.timestamp())
