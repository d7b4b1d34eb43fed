"""Sweeps over counters: expired ones are deleted, older ones are compacted to the first minute of their UTC day.

The sums are exact per key, source and outcome. A sweep goes from key to key, and at each key directly to the minutes
that are due. Counters that recorders write meanwhile are kept, however old they are: DELETE … RETURNING removes the
minutes and returns their values, which are then added to the current value of the day's first minute.

Reports count from one minute to another, so minutes are kept on days of certain events: the first failure of a running
streak (an incident may still be opened for it), the opening and closing of an incident, and the end of a key pair.

The counts of an incident's attempts expire like counters; those of decoys after a day.
"""

from collections import Counter
from collections.abc import Callable, Sequence
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
_Limits = tuple[int, int]


@dataclass(frozen=True)
class CounterSweep:
    """Counters of one table, key by key. The statements and `clear` take the two limits, which say what is due.

    `is_empty`: nothing can be due, so no key is looked at.
    """

    name: str
    limits: _Limits
    next_keys: str
    count: Batch
    find: Batch
    clear: Callable[[Connection, Sequence[Row], _Limits], int]
    is_empty: bool = False

    def range_at(self, connection: Connection, position: str) -> tuple[KeyRange, str | None]:
        """See `Sweep`. A position is the first key of a range; "" is the key of unknown keys' counters."""
        keys = [] if self.is_empty else [str(row[0]) for row in run(connection, self.next_keys, position)]
        return _CounterRange(self, keys[:_RANGE_KEYS]), keys[_RANGE_KEYS] if len(keys) > _RANGE_KEYS else None


@dataclass(frozen=True)
class _CounterRange:
    """The counters of some keys."""

    sweep: CounterSweep
    keys: Sequence[str]

    def count_due(self, connection: Connection) -> int:
        """See `KeyRange`."""
        return int(self.sweep.count.run(connection, self._rows, *self.sweep.limits).scalar_one())

    def find_due(self, connection: Connection, limit: int) -> Sequence[Row]:
        """See `KeyRange`."""
        return [tuple(row) for row in self.sweep.find.run(connection, self._rows, *self.sweep.limits, limit)]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `KeyRange`."""
        return self.sweep.clear(connection, rows, self.sweep.limits)

    @property
    def _rows(self) -> list[Row]:
        return [(key,) for key in self.keys]


def _delete(connection: Connection, rows: Sequence[Row], _limits: _Limits) -> int:
    return len(_DELETE.run(connection, rows).all())


def _compact(connection: Connection, rows: Sequence[Row], _limits: _Limits) -> int:
    """Add the rows up to one a day, written in the order that recorders use, so that the two can't deadlock."""
    removed = _DELETE.run(connection, rows).all()
    ADD_COUNTS.run(connection, _by_day([tuple(row) for row in removed]))
    return len(removed)


def _delete_incident_counts(connection: Connection, rows: Sequence[Row], limits: _Limits) -> int:
    """Delete the rows; a count that has grown meanwhile is kept."""
    return _DELETE_INCIDENT_COUNTS.run(connection, rows, *limits).rowcount


def _by_day(counters: Sequence[tuple[str, int, str, str, int]]) -> list[Row]:
    """Return the sums, each with the first minute of its day."""
    sums: Counter[tuple[str, int, str, str]] = Counter()
    for public_key, minute, source, outcome, count in counters:
        sums[public_key, minute - minute % MINUTES, source, outcome] += count
    return [(*key, count) for key, count in sorted(sums.items())]


def counter_sweeps(limits: Limits, compacted: int) -> tuple[Sweep, ...]:
    """Return the sweeps over counters. Counters before `compacted` were compacted by an earlier run."""
    decoys, others = limits.decoys, limits.counters * 60_000_000
    first, end = max(compacted, limits.counters), limits.compaction
    return (
        CounterSweep(
            "incident_counts",
            (decoys, others),
            _NEXT_SUBJECTS,
            _COUNT_INCIDENT_COUNTS,
            _FIND_INCIDENT_COUNTS,
            _delete_incident_counts,
        ),
        CounterSweep("counters", (0, limits.counters), _NEXT_KEYS, _COUNT[False], _FIND[False], _delete),
        # Further runs of a day find that the first one compacted all that is due.
        CounterSweep("minutes", (first, end), _NEXT_KEYS, _COUNT[True], _FIND[True], _compact, is_empty=first >= end),
    )
