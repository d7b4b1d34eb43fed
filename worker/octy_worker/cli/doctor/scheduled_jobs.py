"""What recurs by Temporal's schedules beside retention: the last reconciliation, and the last digest to support.

Here: a look at the jobs' rows; nothing is changed. Not here: runs (`octy_worker.maintenance.reconciliation`, `octy_worker.maintenance.digest`).
"""

import json
from collections.abc import Iterator
from datetime import timedelta

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_middleware.errors import OctyError
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.output import format_time
from octy_worker.domain.job_lease import JobState, read_job
from octy_worker.maintenance import digest
from octy_worker.maintenance.reconciliation import run
from octy_worker.settings import WorkerSettings

_NAMES = ("reconciliation", "digest")
_DIGEST_LATE = timedelta(days=2)


def check_scheduled_jobs(settings: WorkerSettings, *, worker_runs: bool) -> Iterator[Check]:
    """Look when each was last finished, and what it found. Late ones are a fault while a worker is there to do them."""
    try:
        database = Database(settings.database_url)
        try:
            check_schema(database)
            states = read_job(database, run.JOB), read_job(database, digest.JOB)
        finally:
            database.close()
    except OctyError:
        yield from (unchecked(name, "needs the database") for name in _NAMES)
        return
    yield _reconciliation_check(states[0], settings, worker_runs=worker_runs)
    yield _digest_check(states[1], settings, worker_runs=worker_runs)


def _reconciliation_check(state: JobState | None, settings: WorkerSettings, *, worker_runs: bool) -> Check:
    name, late = _NAMES[0], timedelta(seconds=3 * settings.reconcile_interval)
    if state is None or state.finished_at is None:
        return passed(name, "cases were never compared with Temporal; a worker does it once it has run for a minute")
    counts = _counts(state.cursor)
    said = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items() if count)
    values = {"at": format_time(state.finished_at), "counts": said or "nothing is open"}
    if worker_runs and utc(now()) - state.finished_at > late:
        return problem("reconciliation-late", **values)
    if counts.get("unknown"):
        return problem("workflows-unknown", **values)
    return passed(name, "last finished {at}: {counts}".format(**values))


def _counts(cursor: str) -> dict[str, int]:
    """Return the last run's findings; none while one is under way."""
    return dict(json.loads(cursor)) if cursor else {}


def _digest_check(state: JobState | None, settings: WorkerSettings, *, worker_runs: bool) -> Check:
    name = _NAMES[1]
    if not settings.support_digest_to:
        return passed(name, "off: OCTY_SUPPORT_DIGEST_TO is not set")
    if state is None or state.finished_at is None:
        return passed(name, f"none yet; the first one is due at {settings.support_digest_hour:02}:00 UTC")
    values = {"told": state.cursor, "at": format_time(state.finished_at)}
    if " failed" in state.cursor:
        return problem("digest-failed", **values)
    if worker_runs and utc(now()) - state.finished_at > _DIGEST_LATE:
        return problem("digest-late", **values)
    return passed(name, "last one {told}, {at}".format(**values))
