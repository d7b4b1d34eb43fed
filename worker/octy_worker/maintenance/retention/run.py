"""A retention run: step by step under a job lease, resumed after a crash where it ended. Counting what is due.

A step clears a fixed number of rows in one transaction, then pauses: on SQLite all writers share one lock, so a step
may delay a refused request by its own duration, and the pauses let others write.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from math import inf
from typing import TypeVar

from octy_middleware.clock import Clock, utc
from octy_middleware.db.bulk_sql import Row
from octy_middleware.db.database import Database
from octy_middleware.errors import DatabaseUnavailableError, OctyError
from octy_worker.domain.job_lease import JobLease, JobState, LeaseLostError, read_job
from octy_worker.imports.writer import clear_interrupted
from octy_worker.maintenance.retention.counters import counter_sweeps
from octy_worker.maintenance.retention.sweeps import KeyRange, Limits, Sweep, limits_at, table_sweeps
from octy_worker.settings import RetentionSettings

_logger = logging.getLogger(__name__)

JOB = "retention"
STEP_ROWS = 200
"""Rows of one step: about 10 ms on SQLite, 20 ms on PostgreSQL."""
STEP_PAUSE = 0.06
"""Seconds between two steps: three times as long as a step."""
_STALE = timedelta(days=1)  # a run that was interrupted longer ago starts again, with current limits
_RETRY_INTERVAL = 0.2  # seconds, while the database is unavailable or busy
_SLICE = 60.0  # seconds of one activity
_SLICE_DATABASE_TIMEOUT = 20.0  # seconds; less than the activity's heartbeat timeout
_Result = TypeVar("_Result")


class RunStatus(StrEnum):
    """How a run ended."""

    DONE = "done"
    STOPPED = "stopped"  # on request; the next run resumes it
    NOT_LEASED = "not_leased"  # another worker holds the lease


@dataclass(frozen=True, slots=True)
class Cursor:
    """The progress of a run: sweep and position; no sweep: complete. Counters before `compacted` are compacted."""

    sweep: str = ""
    compacted: int = 0
    position: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse the result of `str`."""
        sweep, compacted, position = text.split(" ", 2) if text else ("", "0", "")
        return cls(sweep, int(compacted), position)

    def __str__(self) -> str:
        return f"{self.sweep} {self.compacted} {self.position}"


class RetentionRun:
    """One run, in the calling thread.

    `stop` ends it before the next step. `database_timeout`: seconds of retrying while the database is unavailable.
    `on_step` gets the counts of cleared rows by sweep after each step.
    """

    def __init__(
        self,
        database: Database,
        settings: RetentionSettings,
        clock: Clock,
        *,
        stop: threading.Event | None = None,
        database_timeout: float = inf,
        step_rows: int = STEP_ROWS,
        step_pause: float = STEP_PAUSE,
        on_step: Callable[[Counter[str]], None] = lambda _counts: None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._stop = stop or threading.Event()
        self._database_timeout = database_timeout
        self._step_rows = step_rows
        self._step_pause = step_pause
        self._on_step = on_step
        self._lease = JobLease(database, JOB, clock)
        self.counts: Counter[str] = Counter()
        self.longest_step = 0.0  # seconds

    def run(self) -> RunStatus:
        """Clear all rows that are due. Raises DatabaseUnavailableError after `database_timeout`."""
        error_type = ""
        try:
            state = self._retry(self._lease.take)
            return RunStatus.NOT_LEASED if state is None else self._resume(state)
        except _StoppedError:
            return RunStatus.STOPPED
        except LeaseLostError:
            return RunStatus.NOT_LEASED
        except Exception as error:
            error_type = type(error).__name__  # its text may contain values
            raise
        finally:
            with suppress(OctyError):  # else the lease expires by itself
                self._lease.release(error_type)

    def _resume(self, state: JobState) -> RunStatus:
        cursor, started_at = Cursor.parse(state.cursor), state.started_at
        now = utc(self._clock())
        if not cursor.sweep or started_at is None or not timedelta() <= now - started_at < _STALE:
            started_at = now
        limits = limits_at(started_at.timestamp(), self._settings)
        sweeps = _sweeps(limits, cursor.compacted)
        names = [sweep.name for sweep in sweeps]
        if started_at is now or cursor.sweep not in names:
            cursor = Cursor(names[0], cursor.compacted)
            self._retry(lambda: self._lease.begin(str(cursor), started_at.timestamp()))
        for sweep in sweeps[names.index(cursor.sweep) :]:
            position = cursor.position if sweep.name == cursor.sweep else ""
            self._sweep(sweep, Cursor(sweep.name, cursor.compacted, position))
        end = Cursor(compacted=max(cursor.compacted, limits.compaction))
        self._retry(lambda: self._lease.finish(str(end)))
        return RunStatus.DONE

    def _sweep(self, sweep: Sweep, cursor: Cursor) -> None:
        position: str | None = cursor.position
        while position is not None:
            key_range, next_position = self._range_at(sweep, position)
            self._clear(sweep.name, key_range, Cursor(sweep.name, cursor.compacted, position))
            position = next_position

    def _range_at(self, sweep: Sweep, position: str) -> tuple[KeyRange, str | None]:
        def read() -> tuple[KeyRange, str | None]:
            with self._database.read() as connection:
                return sweep.range_at(connection, position)

        return self._retry(read)

    def _clear(self, name: str, key_range: KeyRange, cursor: Cursor) -> None:
        while True:
            rows = self._retry(lambda: self._find_due(key_range))
            if rows or self._lease.is_ageing():  # without rows a step renews the lease and saves the cursor
                self._retry(partial(self._step, name, key_range, rows, cursor))
            if len(rows) < self._step_rows:
                return

    def _find_due(self, key_range: KeyRange) -> Sequence[Row]:
        if self._stop.is_set():
            raise _StoppedError
        with self._database.read() as connection:
            return key_range.find_due(connection, self._step_rows)

    def _step(self, name: str, key_range: KeyRange, rows: Sequence[Row], cursor: Cursor) -> None:
        """Clear these rows in one transaction, then pause."""
        with self._lease.step() as connection:
            started = time.monotonic()
            cleared = key_range.clear(connection, rows) if rows else 0
            self._lease.note(connection, str(cursor), cleared)
        self.longest_step = max(self.longest_step, time.monotonic() - started)
        self.counts[name] += cleared
        self._on_step(self.counts)
        self._pause(self._step_pause)

    def _retry(self, action: Callable[[], _Result]) -> _Result:
        """Call `action`, and retry it while the database is unavailable or busy."""
        since = time.monotonic()
        while True:
            try:
                return action()
            except DatabaseUnavailableError:
                if time.monotonic() - since > self._database_timeout:
                    raise
                self._pause(_RETRY_INTERVAL)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StoppedError


class _StoppedError(Exception):
    """The run was stopped on request."""


def prune_for(
    database: Database,
    settings: RetentionSettings,
    clock: Clock,
    *,
    should_stop: Callable[[], bool],
    seconds: float = _SLICE,
) -> tuple[RunStatus, Counter[str]]:
    """Resume the run for a number of seconds, or until `should_stop`, called after each step, returns True.

    Raises DatabaseUnavailableError.
    """
    stop = threading.Event()

    def on_step(_counts: Counter[str]) -> None:
        if should_stop():
            stop.set()

    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        if removed := clear_interrupted(database, clock):
            _logger.info("retention: removed %d key pairs of an interrupted import", removed)
        run = RetentionRun(
            database, settings, clock, stop=stop, database_timeout=_SLICE_DATABASE_TIMEOUT, on_step=on_step
        )
        status = run.run()
    finally:
        timer.cancel()
    if any(run.counts.values()):
        counts = ", ".join(f"{count} {name}" for name, count in run.counts.items() if count)
        _logger.info("retention: %s: %s; longest step %.0f ms", status, counts, run.longest_step * 1000)
    return status, run.counts


def count_due(database: Database, settings: RetentionSettings, now: float) -> Counter[str]:
    """Return how many rows are due, by sweep. Changes nothing."""
    due: Counter[str] = Counter()
    for sweep in _current_sweeps(database, settings, now):
        due[sweep.name] = 0
        for key_range in _ranges(database, sweep):
            with database.read() as connection:
                due[sweep.name] += key_range.count_due(connection)
    return due


def has_due(database: Database, settings: RetentionSettings, now: float) -> bool:
    """Whether any row is due in the first range of each sweep, which has the oldest rows."""
    with database.read() as connection:
        return any(
            sweep.range_at(connection, "")[0].find_due(connection, 1)
            for sweep in _current_sweeps(database, settings, now)
        )


def _current_sweeps(database: Database, settings: RetentionSettings, now: float) -> tuple[Sweep, ...]:
    state = read_job(database, JOB)
    compacted = 0 if state is None else Cursor.parse(state.cursor).compacted
    return _sweeps(limits_at(now, settings), compacted)


def _sweeps(limits: Limits, compacted: int) -> tuple[Sweep, ...]:
    return (*table_sweeps(limits), *counter_sweeps(limits, compacted))


def _ranges(database: Database, sweep: Sweep) -> Iterator[KeyRange]:
    position: str | None = ""
    while position is not None:
        with database.read() as connection:
            key_range, position = sweep.range_at(connection, position)
        yield key_range
