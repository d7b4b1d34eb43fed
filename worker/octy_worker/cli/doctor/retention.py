"""Retention: whether expired rows are deleted."""

from datetime import timedelta

from octy_middleware.clock import utc
from octy_middleware.errors import OctyError
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, opened_database, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.output import format_time
from octy_worker.domain.job_lease import JobState, read_job
from octy_worker.maintenance.retention import JOB, has_due
from octy_worker.settings import WorkerSettings

_LATE = timedelta(days=3)
_NAME = "retention"


def check_retention(settings: WorkerSettings, *, worker_runs: bool) -> Check:
    """Check when the last run completed. A late run is a problem only while a worker runs that should do it."""
    try:
        with opened_database(settings) as database:
            state, due = read_job(database, JOB), has_due(database, settings, now())
    except OctyError:
        return unchecked(_NAME, "the database is not available")
    return _retention_check(state, settings, due=due, worker_runs=worker_runs)


def _retention_check(state: JobState | None, settings: WorkerSettings, *, due: bool, worker_runs: bool) -> Check:
    late = max(_LATE, timedelta(seconds=3 * settings.retention_interval))
    if state is None or state.finished_at is None:
        if due:
            return problem("retention-never")
        return passed(_NAME, "never completed, but no row has expired yet")
    if worker_runs and utc(now()) - state.finished_at > late:
        return problem("retention-late", at=format_time(state.finished_at))
    return passed(_NAME, f"last completed {format_time(state.finished_at)}")
