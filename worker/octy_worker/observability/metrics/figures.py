"""What stands in the store, as figures for Prometheus.

Here: the queries. `read_now` goes by short indexes and small tables, and costs a millisecond or two; `read_totals`
counts whole tables of cases and mails, which grow for years; `Attempts` reads on where it was. Not here: how often each
is read (`collector`).
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
from octy_middleware.domain.outbox import TRIES
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import MailState, Resolution, WebhookState
from octy_worker.mail.alert_hold import current_hold
from octy_worker.mail.unsent import UnsentAlerts, capped_by_kind, unsent_alerts
from octy_worker.maintenance.reconciliation.run import JOB
from octy_worker.observability.database_probe import PROBE
from octy_worker.reports.stalled_work import StalledWork, read_stalled_work
from octy_workflows.messages import MailKind

_RECENT = timedelta(minutes=10)
_PROCESSES = 200  # with series of their own; the others are only counted
_ATTEMPTS = 50_000  # rows read at once; what exceeds them is read the next time
_OUTCOMES = frozenset(Outcome)


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a host app, as it last told of itself; the commit in seconds."""

    id: str  # random: host and pid come again when a container is restarted
    host: str
    queued: int
    lost: int
    failures: int
    commit: float


@dataclass(frozen=True, slots=True)
class Recurring:
    """A job of the worker. `finished_at`: of its last complete run."""

    name: str
    finished_at: datetime | None
    faulty: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Undelivered messages; the oldest one that is still tried waits for so many seconds."""

    undelivered: int
    set_aside: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Now:
    """What changes by the second."""

    processes: tuple[Process, ...]
    process_count: int
    outbox: Waiting
    open_incidents: Mapping[str, int]  # by state
    jobs: tuple[Recurring, ...]
    reconciled: Mapping[str, int]  # findings of the last run
    alerts: UnsentAlerts
    withheld: Mapping[str, int]  # mails by kind, under the daily cap
    held: bool  # alerts, because of evidence of a fault of our own


@dataclass(frozen=True, slots=True)
class Totals:
    """Whole tables, counted."""

    closed: Mapping[tuple[str, ...], int]  # cases by resolution
    mails: Mapping[tuple[str, ...], int]  # by kind and state
    webhooks: Mapping[tuple[str, ...], int]  # by state
    regenerations: Mapping[tuple[str, ...], int]  # by state
    pairs: Mapping[tuple[str, ...], int]  # by state
    streaks: int
    longest: int
    results: StalledWork


def read_now(database: Database, now: float) -> Now:
    """Read what stands now."""
    recent = col(AppProcess.seen_at) > utc(now) - _RECENT
    with database.read_session() as session:
        apps = session.exec(
            select(AppProcess).where(recent).order_by(col(AppProcess.seen_at).desc()).limit(_PROCESSES)
        ).all()
        jobs = session.exec(select(Job).where(Job.name != PROBE).order_by(Job.name)).all()
        found = next((job.cursor for job in jobs if job.name == JOB), "")
        is_open = col(Incident.closed_at).is_(None)
        return Now(
            processes=tuple(
                Process(app.id, app.host, app.queued, app.lost, app.failures, app.commit_micros / 1e6) for app in apps
            ),
            process_count=session.exec(select(func.count()).select_from(AppProcess).where(recent)).one(),
            outbox=_waiting(session, now),
            open_incidents={
                state: count for (state,), count in _count(session, select(Incident.state).where(is_open)).items()
            },
            jobs=tuple(Recurring(job.name, job.finished_at, bool(job.last_error)) for job in jobs),
            reconciled=dict(json.loads(found)) if found else {},
            alerts=unsent_alerts(session, now),
            withheld=capped_by_kind(session, now),
            held=current_hold(session, now) is not None,
        )


def _waiting(session: Session, now: float) -> Waiting:
    undelivered = col(Outbox.delivered_at).is_(None)
    tried = undelivered & (col(Outbox.tries) < TRIES)
    count = session.exec(select(func.count()).where(undelivered)).one()
    waiting, oldest = session.exec(select(func.count(), func.min(Outbox.created_at)).where(tried)).one()
    age = 0.0 if oldest is None else max(0.0, now - oldest.timestamp())
    return Waiting(count, count - waiting, age)


def read_totals(database: Database, now: float) -> Totals:
    """Count whole tables, by their states."""
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
    """Return a zero for each: a graph without any is no graph, and a rule sees no increase from nothing."""
    return {(str(state),): 0 for state in states}


def _count(session: Session, query: Any) -> dict[tuple[str, ...], int]:
    """Return how many rows there are of each value of the query's columns."""
    rows = session.connection().execute(query.add_columns(func.count()).group_by(*query.selected_columns))
    return {tuple(str(value) for value in row[:-1]): row[-1] for row in rows}


class Attempts:
    """Refused attempts as they are put down in detail, counted since the first reading, by their own numbers.

    A number is given out before its row is committed, so each reading goes to where the one before it saw the end.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: int | None = None
        self._seen = 0
        self.counted: Counter[str] = Counter({outcome: 0 for outcome in Outcome if outcome is not Outcome.ACCEPTED})

    def read(self) -> None:
        """Read on, to that end or for many rows."""
        with self._database.read_session() as session:
            newest = session.exec(select(func.max(Attempt.id))).one() or 0
            if self._last is None or newest < self._last:  # a backup was restored
                self._last = self._seen = newest
            until = min(self._seen, self._last + _ATTEMPTS)
            new = select(Attempt.outcome).where(
                col(Attempt.id) > self._last,
                col(Attempt.id) <= until,
                Attempt.outcome != Outcome.ACCEPTED,  # uses of a pair that will end stand there, too
            )
            for (outcome,), count in _count(session, new).items():
                self.counted[outcome if outcome in _OUTCOMES else "unknown"] += count
            self._last, self._seen = until, newest
