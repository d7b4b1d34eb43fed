"""The worker's part that drops what is past its time, once a day.

Here: when a run is due, and what is logged of it. Not here: the run (`run`).
"""

import asyncio
import logging
import threading
from datetime import timedelta

from octy_middleware.clock import Clock, utc
from octy_middleware.database import Database
from octy_middleware.errors import StoreUnavailableError
from octy_worker.jobs import JobState, read_job
from octy_worker.retention.run import JOB, Cursor, Run
from octy_worker.settings import WorkerSettings

_logger = logging.getLogger(__name__)

_LOOK = 60.0  # seconds between two looks whether a run is due: by then a dead holder's lease is over
_AFTER_FAULT = 3600.0  # seconds
_GRACE = 5.0  # seconds for the step under way when we are told to stop


async def prune_daily(database: Database, settings: WorkerSettings, clock: Clock, stop: asyncio.Event) -> None:
    """Do it in a thread of its own until told to stop. A thread that a dead server holds is left behind."""
    told = threading.Event()
    routine = Routine(database, settings, clock, told)
    thread = threading.Thread(target=routine.run, name="octy-retention", daemon=True)
    thread.start()
    try:
        await stop.wait()
    finally:
        told.set()
        await asyncio.to_thread(thread.join, _GRACE)


class Routine:
    """Looks whether a run is due, and does it."""

    def __init__(self, database: Database, settings: WorkerSettings, clock: Clock, stop: threading.Event) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._stop = stop

    def run(self) -> None:
        """Go on until told to stop; nothing else ends it."""
        wait = 0.0
        while not self._stop.wait(wait):
            wait = _LOOK
            try:
                if self.is_due():
                    self._prune()
            except StoreUnavailableError:
                continue  # the relay says so already
            except Exception:
                _logger.exception("retention: a fault of ours; next try in %g s", _AFTER_FAULT)
                wait = _AFTER_FAULT

    def is_due(self) -> bool:
        """Tell whether a run is unfinished, or the last one began long enough ago."""
        state = read_job(self._database, JOB)
        if state is None or state.started_at is None or Cursor.parse(state.cursor).sweep:
            return True
        return self._is_old(state)

    def _is_old(self, state: JobState) -> bool:
        assert state.started_at is not None
        since = utc(self._clock()) - state.started_at
        return not timedelta() <= since < timedelta(seconds=self._settings.retention_interval)

    def _prune(self) -> None:
        run = Run(self._database, self._settings, self._clock, stop=self._stop)
        ended = run.go()
        if any(run.done.values()):
            counts = ", ".join(f"{count} {name}" for name, count in run.done.items() if count)
            _logger.info("retention: %s: %s; longest step %.0f ms", ended, counts, run.pace.longest * 1000)
