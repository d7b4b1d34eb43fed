"""Sums of an incident's attempts: they go as late as counters do; those of decoys after a day.

The walk goes from subject to subject, as that of the counters goes from key to key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_middleware.equal_work import DECOY_SUBJECT_PREFIX
from octy_worker.maintenance.retention.limits import Limits
from octy_worker.maintenance.retention.parts import Found

_SUBJECTS = 200  # of a part
_NEXT_SUBJECTS = (
    "WITH RECURSIVE found(subject, number) AS ("  # noqa: S608  # our own names only, here and below
    " SELECT MIN(subject), 0 FROM incident_count WHERE subject >= ?"
    " UNION ALL"
    " SELECT (SELECT MIN(c.subject) FROM incident_count c WHERE c.subject > found.subject), number + 1"
    f" FROM found WHERE found.subject IS NOT NULL AND number < {_SUBJECTS}) "
    "SELECT subject FROM found WHERE subject IS NOT NULL ORDER BY number"
)
_DUE = (
    f"c.last_at < CASE WHEN c.subject LIKE '{DECOY_SUBJECT_PREFIX}%' THEN CAST(? AS BIGINT) ELSE CAST(? AS BIGINT) END"
)
_WHICH = f"FROM {{given}} CROSS JOIN incident_count c WHERE c.subject = given.subject AND {_DUE}"
_PLACE = {"subject": "text", "bucket": "bigint", "source": "text"}
_NAMES = ", ".join(_PLACE)
_COUNT = Batch(f"SELECT COUNT(*) {_WHICH}", subject="text")
_LOOK = Batch(f"SELECT c.subject, c.bucket, c.source {_WHICH} LIMIT ?", subject="text")
_CLEAR = Batch(
    f"DELETE FROM incident_count AS c WHERE (subject, bucket, source) IN (SELECT {_NAMES} FROM {{given}}) AND {_DUE}",  # noqa: S608
    **_PLACE,
)


@dataclass(frozen=True)
class IncidentCountSweep:
    """Sums whose last attempt was before a limit, in microseconds: that of decoys, or that of all others."""

    decoys: int
    others: int
    name: str = "incident_counts"

    def find(self, connection: Connection, position: str) -> Found:
        """See `Sweep`. A position is the subject at which a part begins."""
        subjects = [str(row[0]) for row in run(connection, _NEXT_SUBJECTS, position)]
        part = _SubjectsPart(self, tuple(subjects[:_SUBJECTS]))
        return Found(part, subjects[_SUBJECTS] if len(subjects) > _SUBJECTS else None)


@dataclass(frozen=True)
class _SubjectsPart:
    """All sums of some subjects."""

    sweep: IncidentCountSweep
    subjects: tuple[str, ...]

    def count(self, connection: Connection) -> int:
        """See `Part`."""
        return int(_COUNT.run(connection, self._given, *self._limits).scalar_one())

    def look(self, connection: Connection, most: int) -> Sequence[Row]:
        """See `Part`."""
        return [tuple(row) for row in _LOOK.run(connection, self._given, *self._limits, most)]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `Part`. A sum that has grown meanwhile stays."""
        return _CLEAR.run(connection, rows, *self._limits).rowcount

    @property
    def _given(self) -> list[Row]:
        return [(subject,) for subject in self.subjects]

    @property
    def _limits(self) -> tuple[int, int]:
        return self.sweep.decoys, self.sweep.others


def incident_count_sweep(limits: Limits) -> IncidentCountSweep:
    """Return the sweep of a run."""
    return IncidentCountSweep(decoys=limits.decoys, others=limits.counters * 60_000_000)
