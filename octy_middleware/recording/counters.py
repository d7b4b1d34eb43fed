"""Counts of all outcomes (`outcome_minute`) and details of refused attempts (`attempt`).

Both are limited a key and minute, because attackers choose keys and source addresses freely.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from octy_middleware.clock import to_micros
from octy_middleware.db.batch_transaction import BatchTransaction
from octy_middleware.db.bulk_sql import Batch, Query, Row
from octy_middleware.http.event import OVERFLOW, AuthEvent

Counts: TypeAlias = Mapping[tuple[str, int, str, str], int]
"""Number of events by public key, minute since 1970, source and outcome."""
AttemptGroups: TypeAlias = Mapping[tuple[str, int, str], Sequence[AuthEvent]]
"""Events to be written in detail, by public key, minute since 1970 and outcome."""
NewSources: TypeAlias = Mapping[tuple[str, int], Sequence[str]]
"""Sources that are not counted yet, by public key and minute, both in sorted order."""

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
"""Input: `source_places`. Returns those that are counted already, for `find_new_sources`."""
COUNT_SOURCES = Query(
    (
        "input.public_key",
        "input.minute",
        "(SELECT COUNT(DISTINCT o.source) FROM outcome_minute o WHERE o.public_key = input.public_key "  # noqa: ISC004
        "AND o.minute = input.minute)",
    ),
    "{input}",
    public_key="text",
    minute="bigint",
)
"""Input: the places of `find_new_sources`. Returns how many sources each has, for `limit_sources`."""

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
_CHANGED = [name for name in _ATTEMPT if name not in ("public_key", "minute", "outcome")]  # the group, in an index
_SET = f"UPDATE attempt SET {', '.join(f'{name} = input.{name}' for name in _CHANGED)} FROM "  # noqa: S608
# Recorders share the rows of unknown keys, so PostgreSQL locks them in one order before it changes any.
_REPLACE_ATTEMPTS = Batch(
    f"{_SET} {{input}} WHERE attempt.id = input.id",
    "WITH input AS (SELECT * FROM {input}), locked AS (SELECT a.id FROM input JOIN attempt a ON a.id = input.id "  # noqa: S608
    f"ORDER BY a.id FOR UPDATE OF a) {_SET} input JOIN locked ON locked.id = input.id WHERE attempt.id = locked.id",
    **_ATTEMPT,
    id="bigint",
)
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
"""Input: the keys of `AttemptGroups`. Returns how many rows each has, and the newest id, for `write_attempts`."""


def source_places(counts: Counts) -> list[tuple[str, int, str]]:
    """Return the distinct (public key, minute, source)."""
    return sorted({place[:3] for place in counts})


def find_new_sources(counts: Counts, present: Iterable[Row]) -> NewSources:
    """Return the sources that are not counted yet. `present`: the result of `FIND_SOURCES`."""
    new = {place[:3] for place in counts} - set(map(tuple, present))
    sources: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for public_key, minute, source in sorted(new):
        sources[public_key, minute].append(source)
    return sources


def limit_sources(counts: Counts, new: NewSources, present: Iterable[Row], *, max_sources: int) -> Counts:
    """Move counts of new sources beyond the limit to `OVERFLOW`. `present`: the result of `COUNT_SOURCES`.

    At most `max_sources` a key and minute are counted by name.
    """
    overflowing = {
        (public_key, minute, source)
        for public_key, minute, known in present
        for source in new[public_key, minute][max(0, max_sources - known) :]
    }
    if not overflowing:
        return counts
    limited: defaultdict[tuple[str, int, str, str], int] = defaultdict(int)
    for (public_key, minute, source, outcome), count in counts.items():
        by_name = (public_key, minute, source) not in overflowing
        limited[public_key, minute, source if by_name else OVERFLOW, outcome] += count
    return limited


def write_counts(transaction: BatchTransaction, counts: Counts) -> None:
    """Add to the counts."""
    transaction.add(ADD_COUNTS, [(*place, count) for place, count in sorted(counts.items())])


def write_attempts(
    transaction: BatchTransaction, groups: AttemptGroups, present: Iterable[Row], *, limit: int
) -> list[Row]:
    """Overwrite rows of groups that are full; return the rows to add to others, for `ADD_ATTEMPTS`.

    `present`: the result of `COUNT_ATTEMPTS`. Each group keeps its first rows and its newest, `limit` in all. A full
    group has its newest row overwritten, so the cost is the same: unknown keys, which share one group, take no less
    time than a key with a group of its own (`equal_work`).
    """
    added: list[Row] = []
    replaced: list[Row] = []
    for public_key, minute, outcome, known, newest in present:
        events = groups[public_key, minute, outcome]
        room = max(0, limit - known)
        if not room:
            replaced.append((*_attempt_row(events[-1]), newest))
            continue
        added.extend(map(_attempt_row, events if len(events) <= room else [*events[: room - 1], events[-1]]))
    transaction.add(_REPLACE_ATTEMPTS, replaced)
    return added


def _attempt_row(event: AuthEvent) -> Row:
    outcome, at, source, _, public_key, _, key_hash, description = event
    user_agent, method, path, request_id = description.read()
    minute = int(at) // 60
    return to_micros(at), public_key, key_hash, minute, outcome, source, user_agent, method, path, request_id
