"""Sweeps over counters: expired ones are deleted, older ones are compacted to the first minute of their UTC day.

The sums are exact per key, source and outcome. A sweep goes from key to key, and at each key directly to the minutes
that are due. Counters that recorders write meanwhile are kept, however old they are: DELETE … RETURNING removes the
minutes and returns their values, which are then added to the current value of the day's first minute.

Reports count from one minute to another, so minutes are kept on days of certain events: the first failure of a running
streak (an incident may still be opened for it), the opening and closing of an incident, and the end of a key pair.

The counts of an incident's attempts expire like counters; those of decoys after a day.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_middleware.equal_work import DECOY_SUBJECT_PREFIX
from octy_middleware.recording.counters import ADD_COUNTS
from octy_worker.maintenance.retention.sweeps import MINUTES, KeyRange, Limits, Sweep

_RANGE_KEYS = 200  # keys, or subjects, of one read
_DAY = 86_400_000_000  # microseconds


def _next_keys(table: str, column: str) -> str:
    """Return a loose index scan: one index lookup for each distinct value, however many rows have it."""
    return (
        f"WITH RECURSIVE found({column}, number) AS ("  # noqa: S608  # our own names only, here and below
        f" SELECT MIN({column}), 0 FROM {table} WHERE {column} >= ?"
        " UNION ALL"
        f" SELECT (SELECT MIN(t.{column}) FROM {table} t WHERE t.{column} > found.{column}), number + 1"
        f" FROM found WHERE found.{column} IS NOT NULL AND number < {_RANGE_KEYS}) "
        f"SELECT {column} FROM found WHERE {column} IS NOT NULL ORDER BY number"
    )


_NEXT_KEYS = _next_keys("outcome_minute", "public_key")
_NEXT_SUBJECTS = _next_keys("incident_count", "subject")
_IN_SPAN = (
    "FROM {input} CROSS JOIN outcome_minute o WHERE o.public_key = input.public_key AND o.minute >= ? AND o.minute < ?"
)


def _same_day(time: str) -> str:
    return f"{time} / {_DAY} = o.minute / {MINUTES}"


_KEPT_DAY = (
    f"EXISTS (SELECT 1 FROM streak s WHERE s.public_key = o.public_key AND {_same_day('s.first_at')}) OR "  # noqa: S608
    f"EXISTS (SELECT 1 FROM key_pair p WHERE p.public_key = o.public_key AND ({_same_day('p.retired_at')} OR "
    f"EXISTS (SELECT 1 FROM incident i WHERE i.key_pair_id = p.id AND ({_same_day('i.first_at')} OR "
    f"{_same_day('i.opened_at')} OR {_same_day('i.closed_at')}))))"
)
_COMPACTABLE = f"{_IN_SPAN} AND o.minute % {MINUTES} <> 0 AND NOT ({_KEPT_DAY})"
_KEY_TYPES = {"public_key": "text", "minute": "bigint", "source": "text", "outcome": "text"}
_KEY_COLUMNS = ", ".join(_KEY_TYPES)
_DELETE = Batch(
    f"DELETE FROM outcome_minute WHERE ({_KEY_COLUMNS}) IN (SELECT {_KEY_COLUMNS} FROM {{input}}) "  # noqa: S608
    f"RETURNING {_KEY_COLUMNS}, count",
    **_KEY_TYPES,
)
_DUE = {False: _IN_SPAN, True: _COMPACTABLE}
_COUNT = {compact: Batch(f"SELECT COUNT(*) {which}", public_key="text") for compact, which in _DUE.items()}
_FIND = {
    compact: Batch(f"SELECT o.public_key, o.minute, o.source, o.outcome {which} LIMIT ?", public_key="text")
    for compact, which in _DUE.items()
}


@dataclass(frozen=True)
class CounterSweep:
    """Counters from minute `first` to before `end`. `compact`: add them up to one a day, instead of deleting them."""

    name: str
    first: int
    end: int
    compact: bool

    def range_at(self, connection: Connection, position: str) -> tuple[KeyRange, str | None]:
        """See `Sweep`. A position is the first key of a range; "" is the key of unknown keys' counters."""
        keys = [str(row[0]) for row in run(connection, _NEXT_KEYS, position)] if self.first < self.end else []
        return _CounterRange(self, tuple(keys[:_RANGE_KEYS])), keys[_RANGE_KEYS] if len(keys) > _RANGE_KEYS else None


@dataclass(frozen=True)
class _CounterRange:
    """The counters of some keys."""

    sweep: CounterSweep
    keys: tuple[str, ...]

    def count_due(self, connection: Connection) -> int:
        """See `KeyRange`."""
        return int(_COUNT[self.sweep.compact].run(connection, *self._values).scalar_one())

    def find_due(self, connection: Connection, limit: int) -> Sequence[Row]:
        """See `KeyRange`."""
        return [tuple(row) for row in _FIND[self.sweep.compact].run(connection, *self._values, limit)]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `KeyRange`. Rows are written in the order that recorders use, so that the two can't deadlock."""
        removed = _DELETE.run(connection, rows).all()
        if self.sweep.compact and removed:
            ADD_COUNTS.run(connection, _by_day([tuple(row) for row in removed]))
        return len(removed)

    @property
    def _values(self) -> tuple[Sequence[Row], int, int]:
        return [(key,) for key in self.keys], self.sweep.first, self.sweep.end


def _by_day(counters: Sequence[tuple[str, int, str, str, int]]) -> list[Row]:
    """Return the sums, each with the first minute of its day."""
    sums: Counter[tuple[str, int, str, str]] = Counter()
    for public_key, minute, source, outcome, count in counters:
        sums[public_key, minute - minute % MINUTES, source, outcome] += count
    return [(*key, count) for key, count in sorted(sums.items())]


_INCIDENT_COUNTS_DUE = (
    f"c.last_at < CASE WHEN c.subject LIKE '{DECOY_SUBJECT_PREFIX}%' THEN CAST(? AS BIGINT) ELSE CAST(? AS BIGINT) END"
)
_INCIDENT_COUNTS = (
    f"FROM {{input}} CROSS JOIN incident_count c WHERE c.subject = input.subject AND {_INCIDENT_COUNTS_DUE}"
)
_COUNT_INCIDENT_COUNTS = Batch(f"SELECT COUNT(*) {_INCIDENT_COUNTS}", subject="text")
_FIND_INCIDENT_COUNTS = Batch(f"SELECT c.subject, c.bucket, c.source {_INCIDENT_COUNTS} LIMIT ?", subject="text")
_DELETE_INCIDENT_COUNTS = Batch(
    "DELETE FROM incident_count AS c WHERE (subject, bucket, source) IN "  # noqa: S608
    f"(SELECT subject, bucket, source FROM {{input}}) AND {_INCIDENT_COUNTS_DUE}",
    subject="text",
    bucket="bigint",
    source="text",
)


@dataclass(frozen=True)
class IncidentCountSweep:
    """Counts of incidents whose last attempt was before a limit in microseconds: of decoys, or of all others."""

    decoys: int
    others: int
    name: str = "incident_counts"

    def range_at(self, connection: Connection, position: str) -> tuple[KeyRange, str | None]:
        """See `Sweep`. A position is the first subject of a range."""
        found = [str(row[0]) for row in run(connection, _NEXT_SUBJECTS, position)]
        return _SubjectRange(self, tuple(found[:_RANGE_KEYS])), found[_RANGE_KEYS] if len(found) > _RANGE_KEYS else None


@dataclass(frozen=True)
class _SubjectRange:
    """The counts of some subjects."""

    sweep: IncidentCountSweep
    subjects: tuple[str, ...]

    def count_due(self, connection: Connection) -> int:
        """See `KeyRange`."""
        return int(_COUNT_INCIDENT_COUNTS.run(connection, self._subject_rows, *self._limits).scalar_one())

    def find_due(self, connection: Connection, limit: int) -> Sequence[Row]:
        """See `KeyRange`."""
        rows = _FIND_INCIDENT_COUNTS.run(connection, self._subject_rows, *self._limits, limit)
        return [tuple(row) for row in rows]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `KeyRange`. A count that has grown meanwhile is kept."""
        return _DELETE_INCIDENT_COUNTS.run(connection, rows, *self._limits).rowcount

    @property
    def _subject_rows(self) -> list[Row]:
        return [(subject,) for subject in self.subjects]

    @property
    def _limits(self) -> tuple[int, int]:
        return self.sweep.decoys, self.sweep.others


def counter_sweeps(limits: Limits, compacted: int) -> tuple[Sweep, ...]:
    """Return the sweeps over counters. Counters before `compacted` were compacted by an earlier run."""
    first = max(compacted, limits.counters)
    return (
        IncidentCountSweep(decoys=limits.decoys, others=limits.counters * 60_000_000),
        CounterSweep("counters", 0, limits.counters, compact=False),
        CounterSweep("minutes", first, limits.compaction, compact=True),
    )
