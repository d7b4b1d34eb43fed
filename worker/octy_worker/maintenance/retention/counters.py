"""Counters: what is past its time goes, and older minutes of a UTC day are added up in the day's first minute.

Here: which counters are due, and the sums, exact per key, source and outcome. Not here: limits (`limits`), counting
(`octy_middleware.recording.counters`).

The walk goes from key to key, and at each key straight to the minutes that are due: keys with nothing due cost a look.
What is written meanwhile is kept, be it as old as it will: minutes are taken out by the very statement that says what
they were, and added to whatever stands in the day's first minute by then.

Days on which something began or ended keep their minutes, for reports count from one minute to another: the first
failure of a running streak (a case may still grow from it), a case's own beginning and end, and the end of a pair.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_middleware.recording.counters import ADD_COUNTS
from octy_worker.maintenance.retention.incident_counts import incident_count_sweep
from octy_worker.maintenance.retention.limits import MINUTES, Limits
from octy_worker.maintenance.retention.parts import Found, Sweep

_KEYS = 200  # keys of a part
_DAY = 86_400_000_000  # microseconds
# A loose scan of the primary key: each key costs one look, however many counters it has.
_NEXT_KEYS = (
    "WITH RECURSIVE found(public_key, number) AS ("  # noqa: S608  # our own names only, here and below
    " SELECT MIN(public_key), 0 FROM outcome_minute WHERE public_key >= ?"
    " UNION ALL"
    " SELECT (SELECT MIN(o.public_key) FROM outcome_minute o WHERE o.public_key > found.public_key), number + 1"
    f" FROM found WHERE found.public_key IS NOT NULL AND number < {_KEYS}) "
    "SELECT public_key FROM found WHERE public_key IS NOT NULL ORDER BY number"
)
_IN_TIME = (
    "FROM {given} CROSS JOIN outcome_minute o WHERE o.public_key = given.public_key AND o.minute >= ? AND o.minute < ?"
)


def _on_this_day(time: str) -> str:
    return f"{time} / {_DAY} = o.minute / {MINUTES}"


_BORDER = (
    f"EXISTS (SELECT 1 FROM streak s WHERE s.public_key = o.public_key AND {_on_this_day('s.first_at')}) OR "  # noqa: S608
    f"EXISTS (SELECT 1 FROM key_pair p WHERE p.public_key = o.public_key AND ({_on_this_day('p.retired_at')} OR "
    f"EXISTS (SELECT 1 FROM incident i WHERE i.key_pair_id = p.id AND ({_on_this_day('i.first_at')} OR "
    f"{_on_this_day('i.opened_at')} OR {_on_this_day('i.closed_at')}))))"
)
_SCATTERED = f"{_IN_TIME} AND o.minute % {MINUTES} <> 0 AND NOT ({_BORDER})"
_PLACE = {"public_key": "text", "minute": "bigint", "source": "text", "outcome": "text"}
_NAMES = ", ".join(_PLACE)
_TAKE_OUT = Batch(
    f"DELETE FROM outcome_minute WHERE ({_NAMES}) IN (SELECT {_NAMES} FROM {{given}}) "  # noqa: S608
    f"RETURNING {_NAMES}, count",
    **_PLACE,
)
_WHICH = {False: _IN_TIME, True: _SCATTERED}
_COUNT = {adds_up: Batch(f"SELECT COUNT(*) {which}", public_key="text") for adds_up, which in _WHICH.items()}
_LOOK = {
    adds_up: Batch(f"SELECT o.public_key, o.minute, o.source, o.outcome {which} LIMIT ?", public_key="text")
    for adds_up, which in _WHICH.items()
}


@dataclass(frozen=True)
class CounterSweep:
    """Counters of a span of minutes. `adds_up`: they are not dropped but kept as one a day."""

    name: str
    first: int
    end: int
    adds_up: bool

    def find(self, connection: Connection, position: str) -> Found:
        """See `Sweep`. A position is the key at which a part begins; the strangers' own is the empty one."""
        keys = [str(row[0]) for row in run(connection, _NEXT_KEYS, position)] if self.first < self.end else []
        return Found(_KeysPart(self, tuple(keys[:_KEYS])), keys[_KEYS] if len(keys) > _KEYS else None)


@dataclass(frozen=True)
class _KeysPart:
    """All counters of some keys."""

    sweep: CounterSweep
    keys: tuple[str, ...]

    def count(self, connection: Connection) -> int:
        """See `Part`."""
        return int(_COUNT[self.sweep.adds_up].run(connection, *self._asked).scalar_one())

    def look(self, connection: Connection, most: int) -> Sequence[Row]:
        """See `Part`."""
        return [tuple(row) for row in _LOOK[self.sweep.adds_up].run(connection, *self._asked, most)]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `Part`. In one order with recorders, which may share the strangers' counters."""
        taken = _TAKE_OUT.run(connection, rows).all()
        if self.sweep.adds_up and taken:
            ADD_COUNTS.run(connection, _by_day([tuple(row) for row in taken]))
        return len(taken)

    @property
    def _asked(self) -> tuple[Sequence[Row], int, int]:
        return [(key,) for key in self.keys], self.sweep.first, self.sweep.end


def _by_day(counters: Sequence[tuple[str, int, str, str, int]]) -> list[Row]:
    """Return the sums, each at its day's first minute."""
    sums: Counter[tuple[str, int, str, str]] = Counter()
    for public_key, minute, source, outcome, count in counters:
        sums[public_key, minute - minute % MINUTES, source, outcome] += count
    return [(*place, count) for place, count in sorted(sums.items())]


def counter_sweeps(limits: Limits, compacted: int) -> tuple[Sweep, ...]:
    """Return the sweeps of the counters. What was before `compacted` has been added up by an earlier run."""
    first = max(compacted, limits.counters)
    return (
        incident_count_sweep(limits),
        CounterSweep("counters", 0, limits.counters, adds_up=False),
        CounterSweep("minutes", first, limits.compaction, adds_up=True),
    )
