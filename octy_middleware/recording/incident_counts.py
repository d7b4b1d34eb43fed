"""Counts of an incident's failed attempts by source and by time, added up at each commit.

Attackers choose the number of attempts and of sources. Pages, mails and the CLI therefore read these limited rows
instead of `outcome_minute`. Each attempt is counted twice: by source (bucket `ALL_TIME`) and by time (empty source).
Uses of a retired key pair with its own secret are counted the same way, under its public key.

Attempts without an open incident are counted under a decoy subject: a wrong secret of a live key, an unknown key and a
retired key write the same rows, whether an incident is open or not (`equal_work`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_middleware.equal_work import SAME_COST_AS_WRONG_SECRET
from octy_middleware.http.event import OVERFLOW, AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.counters import Counts

ALL_TIME = -1
"""The bucket of the counts by source. Other buckets are minutes since 1970, with the empty source."""
NAMED_SOURCES = 1_000
"""How many sources of a subject are counted by name; others are `OVERFLOW`. One commit may exceed it by its batch."""
NOT_KEPT = ""
"""The source of attempts from before the incident whose sources are no longer known."""

_DAY = 1_440  # minutes
_FIRST_MINUTES = 200  # minutes with failures before the incident that are counted, newest first
_FIRST_DETAILS = 3_000  # rows of `attempt` for them, for user agents and exact times

_COLUMNS = {
    "subject": "text",
    "bucket": "bigint",
    "source": "text",
    "count": "bigint",
    "last_at": "bigint",
    "user_agent": "text",
}
_SAME_SUBJECT = f"FROM incident_count c WHERE c.subject = input.subject AND c.bucket = {ALL_TIME}"
# CASE stops at the first match: a known source costs one index lookup, and so does a new one once the limit is reached.
# No EXISTS: PostgreSQL would read the whole table into a hash for it.
_SOURCE = (
    f"CASE WHEN input.bucket <> {ALL_TIME} OR (SELECT 1 {_SAME_SUBJECT} AND c.source = input.source) = 1 "
    f"THEN input.source WHEN (SELECT 1 {_SAME_SUBJECT} AND c.source = '{OVERFLOW}') = 1 "
    f"OR (SELECT COUNT(*) {_SAME_SUBJECT}) >= {NAMED_SOURCES} THEN '{OVERFLOW}' ELSE input.source END"
)
_INTO = "INSERT INTO incident_count (subject, bucket, source, count, last_at, user_agent) SELECT subject, bucket, "
_ON_CONFLICT = (
    "ON CONFLICT (subject, bucket, source) DO UPDATE SET count = incident_count.count + excluded.count, "
    "last_at = excluded.last_at, user_agent = excluded.user_agent"
)
# SQLite takes five times as long to group the rows first; PostgreSQL accepts each key only once in an upsert.
ADD_SUMS = Batch(
    f"{_INTO} {_SOURCE}, count, last_at, user_agent FROM {{input}} WHERE true {_ON_CONFLICT}",
    f"{_INTO} source, SUM(count), MAX(last_at), MAX(user_agent) FROM ("  # noqa: S608
    f"SELECT input.subject, input.bucket, input.count, input.last_at, input.user_agent, {_SOURCE} AS source "
    f"FROM {{input}}) AS kept GROUP BY subject, bucket, source ORDER BY subject, bucket, source {_ON_CONFLICT}",
    **_COLUMNS,
)
_OF_INCIDENTS = frozenset(str(outcome) for outcome in Outcome if outcome.counts)
_SUMMED_UP = _OF_INCIDENTS | frozenset(map(str, SAME_COST_AS_WRONG_SECRET))
_COUNTING = ", ".join(f"'{outcome}'" for outcome in Outcome if outcome.counts)
_OF_KEY = f"FROM attempt a WHERE a.public_key = ? AND a.minute >= ? AND a.outcome IN ({_COUNTING})"
_BEFORE = (
    f"SELECT o.minute, o.source, o.count FROM (SELECT DISTINCT a.minute {_OF_KEY} "  # noqa: S608
    f"ORDER BY a.minute DESC LIMIT {_FIRST_MINUTES}) AS failing CROSS JOIN outcome_minute o "
    f"WHERE o.public_key = ? AND o.minute = failing.minute AND o.outcome IN ({_COUNTING})"
)
_DETAILS = f"SELECT a.minute, a.source, a.at, a.user_agent {_OF_KEY} ORDER BY a.minute DESC, a.id DESC LIMIT ?"


class OpenIncident(NamedTuple):
    """The open incident of a key; times in seconds. `before`: counts of earlier commits, if this commit opens it."""

    id: str
    opened_at: float
    since: float = 0.0
    length: int = 0
    before: tuple[Row, ...] = ()

    def bucket(self, minute: int) -> int:
        """Return the bucket of a minute: the minute itself on the first day, then the hour."""
        return minute if minute < self.opened_at // 60 + _DAY else minute - minute % 60


def sums(counts: Counts, failed: Sequence[AuthEvent], incidents: Mapping[str, OpenIncident], decoy: str) -> list[Row]:
    """Return the rows for `ADD_SUMS`. `counts`, `failed`: of this commit; `incidents`: the open ones by public key."""
    latest = {(event.public_key, event.source): event for event in failed}
    if any(incident.since for incident in incidents.values()):
        counts = _since_openings(failed, incidents)
    rows: dict[tuple[str, int, str], tuple[int, int, str]] = {}
    for (public_key, minute, source, outcome), count in counts.items():
        event = latest.get((public_key, source))
        if event is None or outcome not in _SUMMED_UP:
            continue
        subject, bucket = _place(public_key, minute, outcome, incidents, decoy)
        at = to_micros(event.at)
        for place, user_agent in (((subject, ALL_TIME, source), event.user_agent), ((subject, bucket, ""), "")):
            known = rows.get(place, (0, 0, ""))
            rows[place] = known[0] + count, max(known[1], at), user_agent
    added: list[Row] = [(*place, *row) for place, row in sorted(rows.items())]
    for incident in incidents.values():
        if incident.since:
            added.extend(incident.before)
            added.extend(_deleted_attempts(incident, added))
    return added


def _since_openings(failed: Iterable[AuthEvent], incidents: Mapping[str, OpenIncident]) -> Counts:
    """Return the counts of a commit that opens incidents, without attempts from before their streaks."""
    counts: Counter[tuple[str, int, str, str]] = Counter()
    for event in failed:
        incident = incidents.get(event.public_key)
        early = incident is not None and event.at < incident.since and event.outcome.counts
        outcome = Outcome.UNKNOWN_KEY if early else event.outcome
        counts[event.public_key, int(event.at) // 60, event.source, str(outcome)] += 1
    return counts


def _deleted_attempts(incident: OpenIncident, added: Iterable[Row]) -> Iterable[Row]:
    """Yield the number of attempts of the streak whose rows are already deleted."""
    known = sum(row[3] for row in added if row[0] == incident.id and row[1] == ALL_TIME)
    if known < incident.length:
        yield incident.id, ALL_TIME, NOT_KEPT, incident.length - known, to_micros(incident.since), ""


def sums_before(connection: Connection, incident_id: str, public_key: str, since: float) -> tuple[Row, ...]:
    """Return the counts of a key's failures since a time, from rows of earlier commits; a limited number.

    Failures of the first minute from before `since` are left out if all of that minute are kept in detail.
    """
    first = int(since) // 60
    counts = run(connection, _BEFORE, public_key, first, public_key).all()
    if not counts:
        return ()
    details = run(connection, _DETAILS, public_key, first, _FIRST_DETAILS).all()
    by_place: Counter[tuple[int, str]] = Counter()
    for minute, source, count in counts:
        by_place[minute, source] += count
    in_first = [row for row in details if row[0] == first]
    if len(in_first) == sum(count for (minute, _), count in by_place.items() if minute == first):
        for _, source, at, _ in in_first:
            by_place[first, source] -= at < to_micros(since)
    latest = {source: (at, user_agent) for _, source, at, user_agent in reversed(details)}
    return tuple(_rows_of(incident_id, by_place, latest))


def _place(
    public_key: str, minute: int, outcome: str, incidents: Mapping[str, OpenIncident], decoy: str
) -> tuple[str, int]:
    incident = incidents.get(public_key) if outcome in _OF_INCIDENTS else None
    if incident is not None:
        return incident.id, incident.bucket(minute)
    if outcome == Outcome.RETIRED:
        return public_key, minute - minute % _DAY
    return decoy, minute


def _rows_of(
    incident_id: str, by_place: Mapping[tuple[int, str], int], latest: Mapping[str, tuple[int, str]]
) -> Iterable[Row]:
    """Yield the rows by source, the most frequent ones by name, and by minute."""
    by_source: Counter[str] = Counter()
    by_minute: Counter[int] = Counter()
    last_minute: defaultdict[str, int] = defaultdict(int)
    for (minute, source), count in by_place.items():
        if count:
            by_source[source] += count
            by_minute[minute] += count
            last_minute[source] = max(minute, last_minute[source])
    for place, (source, count) in enumerate(by_source.most_common()):
        at, user_agent = latest.get(source, (last_minute[source] * 60_000_000, ""))
        yield incident_id, ALL_TIME, source if place < NAMED_SOURCES else OVERFLOW, count, at, user_agent
    for minute, count in by_minute.items():
        yield incident_id, minute, "", count, minute * 60_000_000, ""
