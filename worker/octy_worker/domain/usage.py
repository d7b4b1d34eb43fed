"""Use of key pairs: requests by source, with the last user agent, and over time.

The queries read sums that are kept at each commit (`octy_middleware.recording.incident_counts`), so their cost does
not grow with what attackers send.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import Select

from octy_middleware.clock import EPOCH
from octy_middleware.db.models import Attempt, IncidentCount, KeyPair, OutcomeMinute
from octy_middleware.http.event import OVERFLOW
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.incident_counts import ALL_TIME, NOT_KEPT
from octy_middleware.states import KeyPairState
from octy_worker.domain.histogram import Plot, plot_of

LATE_USE_WINDOW = timedelta(days=30)
"""A retired key pair that was not sent for so long counts as no longer used."""

_MINUTE = 60  # seconds
_EXACT_UP_TO = 1_000  # requests whose own times are looked up
_BURST = 12  # minutes; whatever lasts longer is drawn by whole minutes anyway
MAX_COUNTERS = 100_000  # of a key that are read at once: ten sources a minute for a week
_NAMED = 20  # sources that are read by name


@dataclass(frozen=True, slots=True)
class SourceCount:
    """How many requests came from one source; user agent and time are those of the last one."""

    source: str
    count: int
    user_agent: str
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceUse:
    """How many requests of one source were accepted; user agent and minute are those of the last one."""

    source: str
    count: int
    user_agent: str
    last_minute: datetime


@dataclass(frozen=True, slots=True)
class LateUse:
    """A retired key pair that is still sent with its correct secret: a forgotten program."""

    public_key: str
    retired_at: datetime
    used_by: SourceCount


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """The sources of attempts: the most frequent ones, most frequent first, and the sums of all.

    `number`: how many sources there are. Not `complete`: there were more than are kept by name, so it is a lower bound.
    """

    named: tuple[SourceCount, ...] = ()
    number: int = 0
    total: int = 0
    complete: bool = True
    last_at: datetime | None = None


def load_sources(session: Session, incident_id: str) -> SourceSummary:
    """Return where an incident's attempts came from, by reading a bounded number of rows."""
    of_incident = (IncidentCount.subject == incident_id, IncidentCount.bucket == ALL_TIME)
    unnamed = col(IncidentCount.source).in_((OVERFLOW, NOT_KEPT))
    number, total, last_at, merged = session.exec(
        select(
            func.count(),
            func.coalesce(func.sum(IncidentCount.count), 0),
            func.max(IncidentCount.last_at),
            func.coalesce(func.sum(case((unnamed, 1), else_=0)), 0),
        ).where(*of_incident)
    ).one()
    named = session.exec(
        select(IncidentCount)
        .where(*of_incident, IncidentCount.source != NOT_KEPT)
        .order_by(col(IncidentCount.count).desc(), IncidentCount.source)
        .limit(_NAMED)
    )
    return SourceSummary(
        tuple(SourceCount(row.source, row.count, row.user_agent, row.last_at) for row in named),
        int(number),
        int(total),
        complete=not merged,
        last_at=last_at,
    )


def uses_by_source(session: Session, public_key: str, first_minute: int) -> tuple[SourceUse, ...]:
    """Return the sources that used a key pair successfully from a minute on, most frequent first.

    User agents are known for the time in which the pair is retiring. Of a pair that is sent from thousands of sources,
    only the newest minutes are read.
    """
    first_minute = newest_counters(session, public_key, first_minute)
    counts = session.exec(
        select(OutcomeMinute.source, func.sum(OutcomeMinute.count), func.max(OutcomeMinute.minute))
        .where(
            OutcomeMinute.public_key == public_key,
            OutcomeMinute.outcome == Outcome.ACCEPTED,
            col(OutcomeMinute.minute) >= first_minute,
        )
        .group_by(OutcomeMinute.source)
        .order_by(func.sum(OutcomeMinute.count).desc(), OutcomeMinute.source)
    ).all()
    newest = (
        select(func.max(Attempt.id))
        .where(
            Attempt.public_key == public_key,
            col(Attempt.minute) >= first_minute,
            Attempt.outcome == Outcome.ACCEPTED,
        )
        .group_by(Attempt.source)
    )
    user_agents = {
        each.source: each.user_agent for each in session.exec(select(Attempt).where(col(Attempt.id).in_(newest)))
    }
    return tuple(
        SourceUse(source, int(count), user_agents.get(source, ""), EPOCH + timedelta(minutes=minute))
        for source, count, minute in counts
    )


def newest_counters(session: Session, public_key: str, first_minute: int) -> int:
    """Return the first minute, not before `first_minute`, from which on a key has at most `MAX_COUNTERS` counters."""
    beyond = session.exec(
        select(OutcomeMinute.minute)
        .where(OutcomeMinute.public_key == public_key, OutcomeMinute.minute >= first_minute)
        .order_by(col(OutcomeMinute.minute).desc())
        .offset(MAX_COUNTERS)
        .limit(1)
    ).first()
    return first_minute if beyond is None else beyond + 1


def attempts_over_time(session: Session, incident_id: str, public_key: str) -> Plot | None:
    """Return when an incident's attempts came; None when their sums are no longer kept.

    Sums are exact by the minute, or by the hour from the second day on. A short burst that is kept in detail is drawn
    by the second, so that it has a shape. The number of rows that are read depends on the incident's age only.
    """
    in_buckets = session.exec(
        select(IncidentCount.bucket, IncidentCount.count).where(
            IncidentCount.subject == incident_id, col(IncidentCount.bucket) > ALL_TIME
        )
    ).all()
    if not in_buckets:
        return None
    first, last = min(in_buckets)[0], max(in_buckets)[0]
    total = sum(count for _, count in in_buckets)
    if total <= _EXACT_UP_TO and last - first <= _BURST:
        in_detail = session.exec(
            select(Attempt.at).where(
                Attempt.public_key == public_key,
                col(Attempt.minute).between(first, last),
                Attempt.outcome == Outcome.WRONG_SECRET,
            )
        ).all()
        if len(in_detail) == total:
            return plot_of((at.timestamp(), 1) for at in in_detail)
    return plot_of(((minute * _MINUTE, count) for minute, count in in_buckets), finest=_MINUTE)


def late_uses(session: Session, account_id: str, at: datetime) -> tuple[LateUse, ...]:
    """Return the sources that still send retired key pairs of an account, in the window before `at`; the latest 20."""
    latest = select(KeyPair, IncidentCount).where(*_late(col(KeyPair.account_id) == account_id, at))
    return _as_uses(session, latest.order_by(col(IncidentCount.last_at).desc()).limit(_NAMED))


def count_late_uses(session: Session, account_id: str, at: datetime) -> int:
    """Return how many uses `late_uses` chooses from."""
    return session.exec(select(func.count()).where(*_late(col(KeyPair.account_id) == account_id, at))).one()


def late_uses_of(session: Session, pair: KeyPair, at: datetime, *, limit: int | None = _NAMED) -> tuple[LateUse, ...]:
    """Return the sources that still send this retired key pair, most frequent first; empty while it is not retired."""
    most = select(KeyPair, IncidentCount).where(*_late(col(KeyPair.id) == pair.id, at))
    return _as_uses(session, most.order_by(col(IncidentCount.count).desc(), IncidentCount.source).limit(limit))


def count_late_uses_of(session: Session, pair: KeyPair, at: datetime) -> int:
    """Return how many uses `late_uses_of` chooses from."""
    return session.exec(select(func.count()).where(*_late(col(KeyPair.id) == pair.id, at))).one()


def _late(which: ColumnElement[bool], at: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of sums of requests with retired key pairs and their correct secrets."""
    return (
        which,
        col(IncidentCount.subject) == col(KeyPair.public_key),
        col(KeyPair.state) == KeyPairState.RETIRED,
        col(KeyPair.retired_at).is_not(None),
        col(IncidentCount.bucket) == ALL_TIME,
        col(IncidentCount.last_at) >= at - LATE_USE_WINDOW,
    )


def _as_uses(session: Session, query: Select[KeyPair, IncidentCount]) -> tuple[LateUse, ...]:
    return tuple(
        LateUse(pair.public_key, pair.retired_at, SourceCount(row.source, row.count, row.user_agent, row.last_at))
        for pair, row in session.exec(query)
        if pair.retired_at is not None
    )
