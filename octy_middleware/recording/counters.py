"""Counts of every outcome and details of refused attempts, both bounded: attackers choose keys and sources freely.

Here: the SQL of two tables, `outcome_minute` and `attempt`. Not here: what outcomes lead to (`ledger`). What is written
for a stranger costs the same as for a key that exists (T7).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, InputRows, Query, Row, execute, execute_many
from octy_middleware.http.event import OVERFLOW, AuthEvent

_Place = tuple[str, int]  # of a key and a minute
Counts: TypeAlias = Counter[tuple[str, int, str, str]]
"""How often each key, minute, source and outcome was seen."""

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
"""Of `source_places`: which are counted already. What `add_counts` must know."""
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
"""Of the places of `group_attempts`: how many are there, and the newest one. What `add_attempts` must know."""


def count_events(uses: Iterable[tuple[AuthEvent, int]]) -> Counts:
    """Return how often each key, minute, source and outcome was seen; each event comes with how often it was."""
    seen: Counts = Counter()
    for event, count in uses:
        seen[event.public_key, int(event.at) // 60, event.source, str(event.outcome)] += count
    return seen


def source_places(counts: Counts) -> list[tuple[str, int, str]]:
    """Return which sources of which keys and minutes are counted."""
    return sorted({place[:3] for place in counts})


def add_counts(
    connection: Connection, counts: Counts, present: Iterable[Row], *additional: tuple[Batch, InputRows], sources: int
) -> None:
    """Add to the exact counts. `present`: what `FIND_SOURCES` found; `additional`: inserts of the same message.

    At most `sources` a key and minute go by name; further ones count under `OVERFLOW`.
    """
    limited = _bounded(connection, counts, present, sources)
    execute_many(connection, *additional, (ADD_COUNTS, [(*place, count) for place, count in sorted(limited.items())]))


def _bounded(connection: Connection, counts: Counts, present: Iterable[Row], most: int) -> Counts:
    """Gather what has no room of its own. All sources of a minute are read only when a new one comes."""
    new = {place[:3] for place in counts} - set(map(tuple, present))
    if not new:
        return counts
    newcomers: defaultdict[_Place, list[str]] = defaultdict(list)
    for public_key, minute, source in sorted(new):
        newcomers[public_key, minute].append(source)
    without_room: set[tuple[str, int, str]] = set()
    for public_key, minute, known in _COUNT_SOURCES.fetch(connection, sorted(newcomers)):
        without_room.update(
            (public_key, minute, source) for source in newcomers[public_key, minute][max(0, most - known) :]
        )
    bounded: Counts = Counter()
    for (public_key, minute, source, outcome), count in counts.items():
        limited = (public_key, minute, source) not in without_room
        bounded[public_key, minute, source if limited else OVERFLOW, outcome] += count
    return bounded


def group_attempts(refused: Iterable[AuthEvent]) -> dict[tuple[str, int, str], list[AuthEvent]]:
    """Return what is described in detail, by key, minute and outcome."""
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
    """Write attempts in detail, at most `limit` of each place: the first ones and the newest. Return new rows to add.

    `present`: what `COUNT_ATTEMPTS` found. Once there are so many, the newest takes the place of the last. So the
    cost stays the same, and strangers, who share one limit, can't tell by time which keys have a limit of their own
    (T7).
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
    for newest, event in sorted(replaced.items()):  # in one order everywhere: recorders share the strangers' rows
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
