"""Counts of all outcomes (`outcome_minute`) and details of refused attempts (`attempt`).

Both are limited a key and minute, because attackers choose keys and source addresses freely.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, InputRows, Query, Row, execute, execute_many
from octy_middleware.http.event import OVERFLOW, AuthEvent

_KeyMinute = tuple[str, int]
Counts: TypeAlias = Counter[tuple[str, int, str, str]]
"""Number of events by public key, minute since 1970, source and outcome."""

ADD_COUNTS = Batch(
    "INSERT INTO outcome_minute (public_key, minute, source, outcome, count) "
    "SELECT public_key, minute, source, outcome, count FROM {input} WHERE true "
    "ON CONFLICT (public_key, minute, source, outcome) DO UPDATE SET count = outcome_minute.count + excluded.count",
    public_key="text",
    minute="bigint",
    source="text",
    outcome="text",
    count="bigint",
)
FIND_SOURCES = Query(
    ("input.public_key", "input.minute", "input.source"),
    "{input} WHERE EXISTS (SELECT 1 FROM outcome_minute o "
    "WHERE o.public_key = input.public_key AND o.minute = input.minute AND o.source = input.source)",
    public_key="text",
    minute="bigint",
    source="text",
)
"""Input: `source_places`. Returns those that are counted already, for `add_counts`."""
_COUNT_SOURCES = Batch(
    "SELECT input.public_key, input.minute, (SELECT COUNT(DISTINCT o.source) FROM outcome_minute o "
    "WHERE o.public_key = input.public_key AND o.minute = input.minute) FROM {input}",
    public_key="text",
    minute="bigint",
)

_ATTEMPT = {
    "at": "bigint",
    "public_key": "text",
    "key_hash": "text",
    "minute": "bigint",
    "outcome": "text",
    "source": "text",
    "user_agent": "text",
    "method": "text",
    "path": "text",
    "request_id": "text",
}
_NAMES = ", ".join(_ATTEMPT)
ADD_ATTEMPTS = Batch(f"INSERT INTO attempt ({_NAMES}) SELECT {_NAMES} FROM {{input}}", **_ATTEMPT)  # noqa: S608
_REPLACE_ATTEMPT = f"UPDATE attempt SET {', '.join(f'{name} = ?' for name in _ATTEMPT)} WHERE id = ?"  # noqa: S608
_SAME_PLACE = "WHERE a.public_key = input.public_key AND a.minute = input.minute AND a.outcome = input.outcome"
COUNT_ATTEMPTS = Query(
    (
        "input.public_key",
        "input.minute",
        "input.outcome",
        f"(SELECT COUNT(*) FROM attempt a {_SAME_PLACE})",  # noqa: S608
        f"(SELECT MAX(a.id) FROM attempt a {_SAME_PLACE})",  # noqa: S608
    ),
    "{input}",
    public_key="text",
    minute="bigint",
    outcome="text",
)
"""Input: the groups of `group_attempts`. Returns how many rows each has, and the newest id, for `add_attempts`."""


def count_events(uses: Iterable[tuple[AuthEvent, int]]) -> Counts:
    """Return the counts of events; each event comes with how often it occurred."""
    seen: Counts = Counter()
    for event, count in uses:
        seen[event.public_key, int(event.at) // 60, event.source, str(event.outcome)] += count
    return seen


def source_places(counts: Counts) -> list[tuple[str, int, str]]:
    """Return the distinct (public key, minute, source)."""
    return sorted({place[:3] for place in counts})


def add_counts(
    connection: Connection,
    counts: Counts,
    present: Iterable[Row],
    *additional: tuple[Batch, InputRows],
    max_sources: int,
) -> None:
    """Add to the counts. `present`: the result of `FIND_SOURCES`; `additional`: inserts to send in the same message.

    At most `max_sources` a key and minute are counted by name, all others as `OVERFLOW`.
    """
    limited = _limit_sources(connection, counts, present, max_sources)
    execute_many(connection, *additional, (ADD_COUNTS, [(*place, count) for place, count in sorted(limited.items())]))


def _limit_sources(connection: Connection, counts: Counts, present: Iterable[Row], max_sources: int) -> Counts:
    """Move counts of sources beyond the limit to `OVERFLOW`. The sources of a minute are counted only for a new one."""
    new = {place[:3] for place in counts} - set(map(tuple, present))
    if not new:
        return counts
    new_sources: defaultdict[_KeyMinute, list[str]] = defaultdict(list)
    for public_key, minute, source in sorted(new):
        new_sources[public_key, minute].append(source)
    overflowing: set[tuple[str, int, str]] = set()
    for public_key, minute, known in _COUNT_SOURCES.fetch(connection, sorted(new_sources)):
        overflowing.update(
            (public_key, minute, source) for source in new_sources[public_key, minute][max(0, max_sources - known) :]
        )
    limited: Counts = Counter()
    for (public_key, minute, source, outcome), count in counts.items():
        by_name = (public_key, minute, source) not in overflowing
        limited[public_key, minute, source if by_name else OVERFLOW, outcome] += count
    return limited


def group_attempts(refused: Iterable[AuthEvent]) -> dict[tuple[str, int, str], list[AuthEvent]]:
    """Return the events to be written in detail, by public key, minute and outcome."""
    places: defaultdict[tuple[str, int, str], list[AuthEvent]] = defaultdict(list)
    for event in refused:
        places[event.public_key, int(event.at) // 60, str(event.outcome)].append(event)
    return places


def add_attempts(
    connection: Connection,
    places: Mapping[tuple[str, int, str], Sequence[AuthEvent]],
    present: Iterable[Row],
    *,
    limit: int,
) -> list[Row]:
    """Return the `attempt` rows to insert; overwrite rows of groups that are full.

    `present`: the result of `COUNT_ATTEMPTS`. Each group keeps its first rows and its newest, `limit` in all. A full
    group has its newest row overwritten, so the cost is the same: unknown keys, which share one group, take no less
    time than a key with a group of its own (`equal_work`).
    """
    added: list[tuple[object, ...]] = []
    replaced: dict[int, AuthEvent] = {}
    for public_key, minute, outcome, known, newest in present:
        events = places[public_key, minute, outcome]
        room = max(0, limit - known)
        limited = events if len(events) <= room else [*events[: max(0, room - 1)], events[-1]]
        if room:
            added.extend(map(_attempt_row, limited))
        else:
            replaced[newest] = events[-1]
    for newest, event in sorted(replaced.items()):  # in one order everywhere: recorders share the rows of unknown keys
        execute(connection, _REPLACE_ATTEMPT, *_attempt_row(event), newest)
    return added


def _attempt_row(event: AuthEvent) -> tuple[object, ...]:
    return (
        to_micros(event.at),
        event.public_key,
        event.key_hash,
        int(event.at) // 60,
        str(event.outcome),
        event.source,
        event.user_agent,
        event.method,
        event.path,
        event.request_id,
    )
