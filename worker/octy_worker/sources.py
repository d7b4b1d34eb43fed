"""Where requests with a key came from, and when: counted by source with the client last claimed, and over time.

Here: these queries over counts and attempts. Not here: which key, which outcome and since when (`cases`, `reports`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from octy_middleware.clock import EPOCH
from octy_middleware.models import Attempt, KeyPair, OutcomeMinute
from octy_middleware.outcome import Outcome
from octy_middleware.states import PairState
from octy_worker.plot import Plot, plot_of

NO_END = 2**62  # a minute that never comes
LATE_USE_WINDOW = timedelta(days=30)
"""A retired pair that nobody sent for so long is no integration that somebody forgot."""

_MINUTE = 60  # seconds
_EXACT_UP_TO = 1_000  # requests whose own times are looked up


@dataclass(frozen=True, slots=True)
class SourceCount:
    """How many requests came from one source; the client is the last one seen there."""

    source: str
    count: int
    client: str
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceUse:
    """How many requests of one source were let in, as which client the last one, and in which minute."""

    source: str
    count: int
    client: str
    last_minute: datetime


@dataclass(frozen=True, slots=True)
class LateUse:
    """A retired pair that somebody still sends, with its own right secret: a forgotten integration."""

    public_key: str
    retired_at: datetime
    used_by: SourceCount


def sources_of(
    session: Session, public_key: str, outcome: Outcome, first_minute: int, last_minute: int
) -> tuple[SourceCount, ...]:
    """Return the sources of one outcome between two minutes, both included, most frequent source first."""
    counts = session.exec(
        select(OutcomeMinute.source, func.sum(OutcomeMinute.count))
        .where(
            OutcomeMinute.public_key == public_key,
            OutcomeMinute.outcome == outcome,
            col(OutcomeMinute.minute).between(first_minute, last_minute),
        )
        .group_by(OutcomeMinute.source)
        .order_by(func.sum(OutcomeMinute.count).desc(), OutcomeMinute.source)
    ).all()
    newest = (
        select(func.max(Attempt.id))
        .where(
            Attempt.public_key == public_key,
            col(Attempt.minute).between(first_minute, last_minute),
            Attempt.outcome == outcome,
        )
        .group_by(Attempt.source)
    )
    latest = {attempt.source: attempt for attempt in session.exec(select(Attempt).where(col(Attempt.id).in_(newest)))}
    return tuple(
        SourceCount(
            source,
            int(count),
            latest[source].client if source in latest else "",
            latest[source].at if source in latest else None,
        )
        for source, count in counts
    )


def uses_by_source(session: Session, public_key: str, first_minute: int, last_minute: int) -> tuple[SourceUse, ...]:
    """Return who was let in with a pair between two minutes, both included, most frequent source first.

    Clients are known of the time in which the pair is about to end.
    """
    counts = session.exec(
        select(OutcomeMinute.source, func.sum(OutcomeMinute.count), func.max(OutcomeMinute.minute))
        .where(
            OutcomeMinute.public_key == public_key,
            OutcomeMinute.outcome == Outcome.ACCEPTED,
            col(OutcomeMinute.minute).between(first_minute, last_minute),
        )
        .group_by(OutcomeMinute.source)
        .order_by(func.sum(OutcomeMinute.count).desc(), OutcomeMinute.source)
    ).all()
    newest = (
        select(func.max(Attempt.id))
        .where(
            Attempt.public_key == public_key,
            col(Attempt.minute).between(first_minute, last_minute),
            Attempt.outcome == Outcome.ACCEPTED,
        )
        .group_by(Attempt.source)
    )
    clients = {each.source: each.client for each in session.exec(select(Attempt).where(col(Attempt.id).in_(newest)))}
    return tuple(
        SourceUse(source, int(count), clients.get(source, ""), EPOCH + timedelta(minutes=minute))
        for source, count, minute in counts
    )


def over_time(session: Session, public_key: str, outcome: Outcome, first_minute: int, last_minute: int) -> Plot | None:
    """Return when the requests of one outcome came between two minutes, both included; None when none did.

    Counts are exact by the minute. A few requests that are all kept in detail are drawn by the second, so that a burst
    has a shape. Days in the middle of a case that are kept as one sum (see `retention`) stand at their first hour.
    """
    of_key = (
        OutcomeMinute.public_key == public_key,
        OutcomeMinute.outcome == outcome,
        col(OutcomeMinute.minute).between(first_minute, last_minute),
    )
    by_minute = session.exec(
        select(OutcomeMinute.minute, func.sum(OutcomeMinute.count)).where(*of_key).group_by(col(OutcomeMinute.minute))
    ).all()
    total = sum(int(count) for _, count in by_minute)
    if total <= _EXACT_UP_TO:
        in_detail = session.exec(
            select(Attempt.at).where(
                Attempt.public_key == public_key,
                col(Attempt.minute).between(first_minute, last_minute),
                Attempt.outcome == outcome,
            )
        ).all()
        if len(in_detail) == total:
            return plot_of((at.timestamp(), 1) for at in in_detail)
    return plot_of(((minute * _MINUTE, int(count)) for minute, count in by_minute), finest=_MINUTE)


def late_uses(session: Session, account_id: str, at: datetime) -> tuple[LateUse, ...]:
    """Return who still sends retired pairs of an account, from the window before `at` on; latest use first."""
    retired = session.exec(
        select(KeyPair).where(KeyPair.account_id == account_id, KeyPair.state == PairState.RETIRED)
    ).all()
    uses = [use for pair in retired for use in late_uses_of(session, pair, at)]
    return tuple(sorted(uses, key=lambda use: use.used_by.last_at or use.retired_at, reverse=True))


def late_uses_of(session: Session, pair: KeyPair, at: datetime) -> tuple[LateUse, ...]:
    """Return who still sends this pair, most frequent source first; nothing while it is not retired."""
    if pair.retired_at is None:
        return ()
    since = max(pair.retired_at, at - LATE_USE_WINDOW)
    found = sources_of(session, pair.public_key, Outcome.RETIRED, int(since.timestamp()) // 60, NO_END)
    return tuple(LateUse(pair.public_key, pair.retired_at, source) for source in found)
