"""One run over everything that is past its time: step by step under a lease, going on after a crash where it was.

Here: the order of steps, what is saved between them, waiting out a store that is away. Not here: what is due
(`tables`, `counters`), how long a step may be (`pace`), when a run is due (`octy_worker.temporal.schedules`).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import inf
from typing import TypeVar

from octy_middleware.clock import Clock, utc
from octy_middleware.db.bulk_sql import Row
from octy_middleware.db.database import Database
from octy_middleware.errors import DatabaseUnavailableError, OctyError
from octy_worker.domain.job_lease import JobLease, JobState, LeaseLostError
from octy_worker.domain.step_pacer import MAX_ROWS, StepPacer
from octy_worker.maintenance.retention.counters import counter_sweeps
from octy_worker.maintenance.retention.limits import limits_at
from octy_worker.maintenance.retention.parts import Found, Part, Sweep
from octy_worker.maintenance.retention.tables import table_sweeps
from octy_worker.settings import RetentionSettings

JOB = "retention"
_STALE = timedelta(days=1)  # a run that was left lying for longer begins anew, with the limits of today
_RETRY = 0.2  # seconds between two tries while the store is away or busy
_Result = TypeVar("_Result")


class Ended(StrEnum):
    """How a run ended."""

    DONE = "done"
    STOPPED = "stopped"  # we were told to; another run goes on
    HELD = "held"  # by another worker


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a run stands: sweep and position; no sweep: it is complete. Counters before `compacted` are added up."""

    sweep: str = ""
    compacted: int = 0
    position: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what `str` wrote."""
        sweep, compacted, position = text.split(" ", 2) if text else ("", "0", "")
        return cls(sweep, int(compacted), position)

    def __str__(self) -> str:
        return f"{self.sweep} {self.compacted} {self.position}"


class Run:
    """One run, in the calling thread. `waits`: seconds for which a store that is away is waited for."""

    def __init__(
        self,
        database: Database,
        settings: RetentionSettings,
        clock: Clock,
        *,
        stop: threading.Event | None = None,
        waits: float = inf,
        pace: StepPacer | None = None,
        report: Callable[[Counter[str]], None] = lambda _done: None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._stop = stop or threading.Event()
        self._waits = waits
        self.pace = pace or StepPacer()
        self._report = report
        self._lease = JobLease(database, JOB, clock)
        self.done: Counter[str] = Counter()

    def go(self) -> Ended:
        """Do all that is due. Raises DatabaseUnavailableError when the store was away for too long."""
        fault = ""
        try:
            state = self._patiently(self._lease.take)
            return Ended.HELD if state is None else self._go_on(state)
        except _StoppedError:
            return Ended.STOPPED
        except LeaseLostError:
            return Ended.HELD
        except Exception as error:
            fault = type(error).__name__  # its text may hold values
            raise
        finally:
            with suppress(OctyError):  # else the lease ends by itself
                self._lease.release(fault)

    def _go_on(self, state: JobState) -> Ended:
        cursor, began = Cursor.parse(state.cursor), state.started_at
        now = utc(self._clock())
        if not cursor.sweep or began is None or not timedelta() <= now - began < _STALE:
            began = now
        limits = limits_at(began.timestamp(), self._settings)
        sweeps = (*table_sweeps(limits), *counter_sweeps(limits, cursor.compacted))
        names = [sweep.name for sweep in sweeps]
        if began is now or cursor.sweep not in names:
            cursor = Cursor(names[0], cursor.compacted)
            self._patiently(lambda: self._lease.begin(str(cursor), began.timestamp()))
        for sweep in sweeps[names.index(cursor.sweep) :]:
            position = cursor.position if sweep.name == cursor.sweep else ""
            self._walk(sweep, Cursor(sweep.name, cursor.compacted, position))
        end = Cursor(compacted=max(cursor.compacted, limits.compaction))
        self._patiently(lambda: self._lease.finish(str(end)))
        return Ended.DONE

    def _walk(self, sweep: Sweep, cursor: Cursor) -> None:
        position: str | None = cursor.position
        while position is not None:
            found = self._find(sweep, position)
            self._clear(sweep.name, found.part, Cursor(sweep.name, cursor.compacted, position))
            position = found.next

    def _find(self, sweep: Sweep, position: str) -> Found:
        def find() -> Found:
            with self._database.read() as connection:
                return sweep.find(connection, position)

        return self._patiently(find)

    def _clear(self, name: str, part: Part, cursor: Cursor) -> None:
        while True:
            rows = self._patiently(lambda: self._look(part))
            all_seen = len(rows) < MAX_ROWS
            if self._lease.is_ageing() and not rows:
                self._patiently(lambda: self._step(name, part, (), cursor))
            while rows:
                rows = rows[self._step_over(name, part, rows, cursor) :]
            if all_seen:
                return

    def _step_over(self, name: str, part: Part, rows: Sequence[Row], cursor: Cursor) -> int:
        return self._patiently(lambda: self._step(name, part, rows, cursor))

    def _look(self, part: Part) -> Sequence[Row]:
        if self._stop.is_set():
            raise _StoppedError
        with self._database.read() as connection:
            return part.look(connection, MAX_ROWS)

    def _step(self, name: str, part: Part, rows: Sequence[Row], cursor: Cursor) -> int:
        """Do some of these rows in one transaction; return how many. Then pause."""
        handled = gone = 0
        with self._lease.step() as connection:
            begun = time.monotonic()
            for portion in self.pace.portions(rows):
                gone += part.clear(connection, portion)
                handled += len(portion)
            self._lease.note(connection, str(cursor), gone)
        took = time.monotonic() - begun
        self.done[name] += gone
        self._report(self.done)
        self._pause(self.pace.pause_after(took))
        return handled

    def _patiently(self, action: Callable[[], _Result]) -> _Result:
        """Do it, again and again while the store is busy or away."""
        since = time.monotonic()
        while True:
            try:
                return action()
            except DatabaseUnavailableError:
                if time.monotonic() - since > self._waits:
                    raise
                self._pause(_RETRY)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StoppedError


class _StoppedError(Exception):
    """We were told to stop."""
