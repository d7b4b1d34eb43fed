"""Scheduled jobs beside retention: the last reconciliation, and the last digest to support staff."""

import json
from collections.abc import Iterator
from datetime import timedelta

from octy_middleware.clock import utc
from octy_middleware.errors import OctyError
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, opened_database, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.output import format_time
from octy_worker.domain.job_lease import JobState, read_job
from octy_worker.maintenance import digest
from octy_worker.maintenance.reconciliation import run
from octy_worker.settings import WorkerSettings

_NAMES = ("reconciliation", "digest")
_DIGEST_LATE = timedelta(days=2)


def check_scheduled_jobs(settings: WorkerSettings, *, worker_runs: bool) -> Iterator[Check]:
    """Check when each last completed, and its result. A late run is a problem only while a worker runs."""
    try:
        with opened_database(settings) as database:
            states = read_job(database, run.JOB), read_job(database, digest.JOB)
    except OctyError:
        yield from (unchecked(name, "the database is not available") for name in _NAMES)
        return
    yield _reconciliation_check(states[0], settings, worker_runs=worker_runs)
    yield _digest_check(states[1], settings, worker_runs=worker_runs)


def _reconciliation_check(state: JobState | None, settings: WorkerSettings, *, worker_runs: bool) -> Check:
    name, late = _NAMES[0], timedelta(seconds=3 * settings.reconcile_interval)
    if state is None or state.finished_at is None:
        return passed(name, "never ran yet; a worker starts it one minute after its own start")
    counts = json.loads(state.cursor) if state.cursor else {}  # none while a run is in progress
    text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    values = {"at": format_time(state.finished_at), "counts": text or "nothing is open"}
    if worker_runs and utc(now()) - state.finished_at > late:
        return problem("reconciliation-late", **values)
    if counts.get("unknown"):
        return problem("workflows-unknown", **values)
    return passed(name, "last completed {at}: {counts}".format(**values))


def _digest_check(state: JobState | None, settings: WorkerSettings, *, worker_runs: bool) -> Check:
    name = _NAMES[1]
    if not settings.support_digest_to:
        return passed(name, "off: OCTY_SUPPORT_DIGEST_TO is not set")
    if state is None or state.finished_at is None:
        return passed(name, f"none sent yet; the first is due at {settings.support_digest_hour:02}:00 UTC")
    values = {"result": state.cursor, "at": format_time(state.finished_at)}
    if " failed" in state.cursor:
        return problem("digest-failed", **values)
    if worker_runs and utc(now()) - state.finished_at > _DIGEST_LATE:
        return problem("digest-late", **values)
    return passed(name, "last result: {result}, {at}".format(**values))
