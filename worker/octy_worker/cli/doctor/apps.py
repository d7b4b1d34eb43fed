"""The host app's processes, as each last told of itself beside its outcomes.

Here: a look at their rows; nothing is changed. Not here: what they write (`octy_middleware.recording.heartbeat`). A process
without requests tells nothing, and one that has ended told its last some time ago: both are no fault. Nor are commits
that failed, once there is a row to read that says so: the store took it.
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
    """Look at those that told something within the last ten minutes."""
    some = session.exec(select(AppProcess).where(col(AppProcess.seen_at) > utc(now()) - _RECENT)).all()
    if not some:
        return passed(APPS, "no app process has recorded anything within 10 minutes")
    found = (
        f"{len(some)} processes within 10 minutes, {sum(app.queued for app in some)} outcomes waiting, "
        f"slowest last commit {max(app.commit_micros for app in some) / 1000:.1f} ms"
    )
    lost, failures = sum(app.lost for app in some), sum(app.failures for app in some)
    if lost:
        return problem("outcomes-lost", told=found, lost=lost)
    return passed(APPS, f"{found}; {failures} commits failed, {_last(some)}" if failures else found)


def _last(some: Sequence[AppProcess]) -> str:
    newest = max((app for app in some if app.failures), key=lambda app: app.seen_at)
    return f"last on {newest.host} (pid {newest.pid}): {newest.last_error}"
