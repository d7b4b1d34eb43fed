"""Counts of every outcome and details of refused attempts, both bounded: attackers choose keys and sources freely.

Here: the SQL of two tables, `outcome_minute` and `attempt`. Not here: what outcomes lead to (`ledger`). What is written
for a stranger costs the same as for a key that exists (T7).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.entries import OVERFLOW, Entry
from octy_middleware.outcome import Outcome

_ATTEMPT = "at, public_key, key_hash, minute, outcome, source, client, method, path, request_id"
_CHUNK = 400  # sources a query, well under SQLite's limit of variables


def add_counts(connection: Connection, batch: Sequence[Entry], *, sources: int) -> None:
    """Add to the exact counts, at most `sources` a key and minute by name; further ones count under `OVERFLOW`."""
    counts = _bounded(connection, batch, sources)
    connection.exec_driver_sql(
        "INSERT INTO outcome_minute (public_key, minute, source, outcome, count) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (public_key, minute, source, outcome) DO UPDATE SET count = outcome_minute.count + excluded.count",
        [(*place, count) for place, count in sorted(counts.items())],
    )


def _bounded(connection: Connection, batch: Sequence[Entry], most: int) -> Counter[tuple[str, int, str, str]]:
    counts = Counter((e.public_key, int(e.at) // 60, e.source, str(e.outcome)) for e in batch)
    sources: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for public_key, minute, source, _ in counts:
        sources[public_key, minute].add(source)
    bounded: Counter[tuple[str, int, str, str]] = Counter()
    allowed = {place: _allowed_sources(connection, place, wanted, most) for place, wanted in sources.items()}
    for (public_key, minute, source, outcome), count in counts.items():
        known = source in allowed[public_key, minute]
        bounded[public_key, minute, source if known else OVERFLOW, outcome] += count
    return bounded


def _allowed_sources(connection: Connection, place: tuple[str, int], wanted: set[str], most: int) -> set[str]:
    """Return which of the wanted sources get rows of their own; attackers choose their addresses freely.

    All sources of the minute are read only when a new one comes: strangers share theirs, and many rows take time.
    """
    new = wanted - _present_sources(connection, place, wanted)
    if not new:
        return wanted
    (present,) = connection.exec_driver_sql(
        "SELECT COUNT(DISTINCT source) FROM outcome_minute WHERE public_key = ? AND minute = ?", place
    ).one()
    room = max(0, most - present)
    return (wanted - new) | set(sorted(new)[:room])


def _present_sources(connection: Connection, place: tuple[str, int], wanted: set[str]) -> set[str]:
    present: set[str] = set()
    some = sorted(wanted)
    for start in range(0, len(some), _CHUNK):
        chunk = some[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        rows = connection.exec_driver_sql(
            f"SELECT DISTINCT source FROM outcome_minute WHERE public_key = ? AND minute = ? AND source IN ({marks})",  # noqa: S608
            (*place, *chunk),
        )
        present.update(row[0] for row in rows)
    return present


def add_attempts(connection: Connection, batch: Sequence[Entry], *, limit: int) -> None:
    """Write refused attempts in detail, at most `limit` of a key, minute and outcome: the first ones and the newest.

    Once there are so many, the newest takes the place of the last. So the cost stays the same, and strangers, who share
    one limit, can't tell by time which keys have a limit of their own (T7).
    """
    places: defaultdict[tuple[str, int, str], list[Entry]] = defaultdict(list)
    for entry in batch:
        if entry.outcome is not Outcome.ACCEPTED:
            places[entry.public_key, int(entry.at) // 60, str(entry.outcome)].append(entry)
    added: list[tuple[object, ...]] = []
    for (public_key, minute, outcome), entries in places.items():
        present, newest = connection.exec_driver_sql(
            "SELECT COUNT(*), MAX(id) FROM attempt WHERE public_key = ? AND minute = ? AND outcome = ?",
            (public_key, minute, outcome),
        ).one()
        room = max(0, limit - present)
        kept = entries if len(entries) <= room else [*entries[: max(0, room - 1)], entries[-1]]
        if room:
            added.extend(_attempt_row(entry, minute) for entry in kept)
        else:
            _replace_attempt(connection, newest, _attempt_row(entries[-1], minute))
    if added:
        connection.exec_driver_sql(
            f"INSERT INTO attempt ({_ATTEMPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            added,
        )


def _replace_attempt(connection: Connection, attempt_id: int, row: tuple[object, ...]) -> None:
    connection.exec_driver_sql(
        f"UPDATE attempt SET ({_ATTEMPT}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?",  # noqa: S608
        (*row, attempt_id),
    )


def _attempt_row(entry: Entry, minute: int) -> tuple[object, ...]:
    return (
        to_micros(entry.at),
        entry.public_key,
        entry.key_hash,
        minute,
        str(entry.outcome),
        entry.source,
        entry.client,
        entry.method,
        entry.path,
        entry.request_id,
    )
