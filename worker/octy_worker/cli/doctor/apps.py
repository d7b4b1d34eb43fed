"""The host app's processes, from the heartbeat rows that they write with their outcomes.

A process without requests writes no heartbeat, and one that has ended wrote its last some time ago: neither is a
problem. Failed commits are no problem either once a row reports them: the database was available again by then.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import AppProcess
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, passed
from octy_worker.cli.doctor.problems import problem
from octy_worker.settings import WorkerSettings

APPS = "apps"
_RECENT = timedelta(minutes=10)


def check_app_processes(session: Session, _settings: WorkerSettings) -> Check:
    """Check the processes with a heartbeat in the last ten minutes."""
    recent = session.exec(select(AppProcess).where(col(AppProcess.seen_at) > utc(now()) - _RECENT)).all()
    if not recent:
        return passed(APPS, "no app process recorded anything in the last 10 minutes")
    summary = (
        f"{len(recent)} processes in the last 10 minutes, {sum(app.queued for app in recent)} outcomes queued, "
        f"slowest last commit {max(app.commit_micros for app in recent) / 1000:.1f} ms"
    )
    lost, failures = sum(app.lost for app in recent), sum(app.failures for app in recent)
    if lost:
        return problem("outcomes-lost", summary=summary, lost=lost)
    return passed(APPS, f"{summary}; {failures} commits failed, {_last_failure(recent)}" if failures else summary)


def _last_failure(processes: Sequence[AppProcess]) -> str:
    newest = max((app for app in processes if app.failures), key=lambda app: app.seen_at)
    return f"last on {newest.host} (pid {newest.pid}): {newest.last_error}"
