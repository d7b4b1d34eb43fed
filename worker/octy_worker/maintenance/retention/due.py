"""What a run would do, counted without doing it.

Here: looks, for `octy db prune --dry-run` and `octy doctor`. Not here: doing it (`run`).
"""

from collections import Counter
from collections.abc import Iterator

from octy_middleware.db.database import Database
from octy_worker.domain.job_lease import read_job
from octy_worker.maintenance.retention.counters import counter_sweeps
from octy_worker.maintenance.retention.limits import limits_at
from octy_worker.maintenance.retention.parts import Part, Sweep
from octy_worker.maintenance.retention.run import JOB, Cursor
from octy_worker.maintenance.retention.tables import table_sweeps
from octy_worker.settings import RetentionSettings


def count_due(database: Database, settings: RetentionSettings, now: float) -> Counter[str]:
    """Return how many rows are due, by sweep."""
    due: Counter[str] = Counter()
    for sweep in _sweeps(database, settings, now):
        due[sweep.name] = 0
        for part in _parts(database, sweep):
            with database.read() as connection:
                due[sweep.name] += part.count(connection)
    return due


def has_due(database: Database, settings: RetentionSettings, now: float) -> bool:
    """Tell whether anything is due where the oldest rows are; it is no search of everything."""
    with database.read() as connection:
        return any(sweep.find(connection, "").part.look(connection, 1) for sweep in _sweeps(database, settings, now))


def _sweeps(database: Database, settings: RetentionSettings, now: float) -> tuple[Sweep, ...]:
    limits, state = limits_at(now, settings), read_job(database, JOB)
    compacted = 0 if state is None else Cursor.parse(state.cursor).compacted
    return (*table_sweeps(limits), *counter_sweeps(limits, compacted))


def _parts(database: Database, sweep: Sweep) -> Iterator[Part]:
    position: str | None = ""
    while position is not None:
        with database.read() as connection:
            found = sweep.find(connection, position)
        yield found.part
        position = found.next
