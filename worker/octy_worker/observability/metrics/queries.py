"""Queries of the figures that Prometheus gets.

`read_current` uses short indexes and small tables, and takes a millisecond or two. `read_totals` counts whole tables of
incidents and mails, which grow for years. `AttemptCounter` continues where its last reading ended.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import (
    AppProcess,
    Attempt,
    Incident,
    Job,
    KeyPair,
    Mail,
    Outbox,
    Regeneration,
    Streak,
    Webhook,
)
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import MailState, Resolution, WebhookState
from octy_worker.mail.alert_hold import current_hold
from octy_worker.mail.unsent import UnsentAlerts, capped_by_kind, unsent_alerts
from octy_worker.maintenance.reconciliation.run import JOB
from octy_worker.observability.database_probe import PROBE_JOB
from octy_worker.reports.stalled_work import StalledWork, read_stalled_work
from octy_workflows.messages import MailKind

_RECENT = timedelta(minutes=10)
MAX_PROCESSES = 200  # with a series of their own; the others are only counted
MAX_ATTEMPTS = 50_000  # rows of one reading; the rest is read the next time
_OUTCOMES = frozenset(Outcome)


@dataclass(frozen=True, slots=True)
class AppProcessFigures:
    """The last report of a host app process. `commit`: seconds of the last commit."""

    id: str  # random, because host and pid repeat when a container is restarted
    host: str
    queued: int
    lost: int
    failures: int
    commit: float


@dataclass(frozen=True, slots=True)
class JobFigures:
    """A periodic job. `finished_at`: end of its last complete run."""

    name: str
    finished_at: datetime | None
    failing: bool


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """Undelivered messages. `oldest`: age in seconds of the oldest one that is no dead letter."""

    undelivered: int
    dead_letters: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Current:
    """Figures that change every second."""

    processes: tuple[AppProcessFigures, ...]
    process_count: int
    outbox: OutboxFigures
    open_incidents: Mapping[str, int]  # by state
    jobs: tuple[JobFigures, ...]
    findings: Mapping[str, int]  # of the last reconciliation
    alerts: UnsentAlerts
    withheld: Mapping[str, int]  # mails by kind, by the daily cap
    held: bool  # alerts, because the failures look like a fault of the host app


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of whole tables."""

    closed: Mapping[tuple[str, ...], int]  # incidents by resolution
    mails: Mapping[tuple[str, ...], int]  # by kind and state
    webhooks: Mapping[tuple[str, ...], int]  # by state
    regenerations: Mapping[tuple[str, ...], int]  # by state
    pairs: Mapping[tuple[str, ...], int]  # by state
    streaks: int
    longest: int
    results: StalledWork


def read_current(database: Database, now: float) -> Current:
    """Read the current figures."""
    recent = col(AppProcess.seen_at) > utc(now) - _RECENT
    with database.read_session() as session:
        apps = session.exec(
            select(AppProcess).where(recent).order_by(col(AppProcess.seen_at).desc()).limit(MAX_PROCESSES)
        ).all()
        jobs = session.exec(select(Job).where(Job.name != PROBE_JOB).order_by(Job.name)).all()
        findings = next((job.cursor for job in jobs if job.name == JOB), "")
        is_open = col(Incident.closed_at).is_(None)
        return Current(
            processes=tuple(
                AppProcessFigures(app.id, app.host, app.queued, app.lost, app.failures, app.commit_micros / 1e6)
                for app in apps
            ),
            process_count=session.exec(select(func.count()).select_from(AppProcess).where(recent)).one(),
            outbox=_outbox(session, now),
            open_incidents={
                state: count for (state,), count in _count(session, select(Incident.state).where(is_open)).items()
            },
            jobs=tuple(JobFigures(job.name, job.finished_at, bool(job.last_error)) for job in jobs),
            findings=dict(json.loads(findings)) if findings else {},
            alerts=unsent_alerts(session, now),
            withheld=capped_by_kind(session, now),
            held=current_hold(session, now) is not None,
        )


def _outbox(session: Session, now: float) -> OutboxFigures:
    undelivered = col(Outbox.delivered_at).is_(None)
    pending = undelivered & (col(Outbox.delivery_attempts) < MAX_DELIVERY_ATTEMPTS)
    count = session.exec(select(func.count()).where(undelivered)).one()
    waiting, oldest = session.exec(select(func.count(), func.min(Outbox.created_at)).where(pending)).one()
    age = 0.0 if oldest is None else max(0.0, now - oldest.timestamp())
    return OutboxFigures(count, count - waiting, age)


def read_totals(database: Database, now: float) -> Totals:
    """Count whole tables by state."""
    with database.read_session() as session:
        streaks, longest = session.exec(select(func.count(), func.max(Streak.length)).select_from(Streak)).one()
        closed = select(Incident.resolution).where(col(Incident.closed_at).is_not(None))
        return Totals(
            closed=_zeros(Resolution) | _count(session, closed),
            mails={(kind, MailState.FAILED): 0 for kind in MailKind} | _count(session, select(Mail.kind, Mail.state)),
            webhooks=_zeros(WebhookState) | _count(session, select(Webhook.state)),
            regenerations=_count(session, select(Regeneration.state)),
            pairs=_count(session, select(KeyPair.state)),
            streaks=streaks,
            longest=longest or 0,
            results=read_stalled_work(session, now),
        )


def _zeros(states: type[StrEnum]) -> dict[tuple[str, ...], int]:
    """Return a zero for each state: without it a rule sees no increase, and a graph has no line."""
    return {(str(state),): 0 for state in states}


def _count(session: Session, query: Any) -> dict[tuple[str, ...], int]:
    """Return how many rows there are of each value of the query's columns."""
    rows = session.connection().execute(query.add_columns(func.count()).group_by(*query.selected_columns))
    return {tuple(str(value) for value in row[:-1]): row[-1] for row in rows}


class AttemptCounter:
    """Counts refused attempts that are recorded in detail, since the first reading.

    An id is assigned before its row is committed, so each reading counts only up to the newest id of the one before.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: int | None = None
        self._seen = 0
        self.counts: Counter[str] = Counter({outcome: 0 for outcome in Outcome if outcome is not Outcome.ACCEPTED})

    def read(self) -> None:
        """Count new rows."""
        with self._database.read_session() as session:
            newest = session.exec(select(func.max(Attempt.id))).one() or 0
            if self._last is None or newest < self._last:  # a backup was restored
                self._last = self._seen = newest
            until = min(self._seen, self._last + MAX_ATTEMPTS)
            new = select(Attempt.outcome).where(
                col(Attempt.id) > self._last,
                col(Attempt.id) <= until,
                Attempt.outcome != Outcome.ACCEPTED,  # uses of a retiring key pair are recorded there, too
            )
            for (outcome,), count in _count(session, new).items():
                self.counts[outcome if outcome in _OUTCOMES else "unknown"] += count
            self._last, self._seen = until, newest
