"""The work itself: stalled or failed alerts, incidents, keys, mails, webhooks and commits; test write, disk, clocks."""

from collections.abc import Iterator

from sqlmodel import Session

from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, opened_database, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.output import format_time
from octy_worker.mail.alert_hold import current_hold
from octy_worker.mail.unsent import capped_by_kind, unsent_alerts
from octy_worker.observability.database_probe import SLOW, clock_offset, disk_space, write_probe
from octy_worker.reports.stalled_work import ALERT_LATE, count_waiting_for_staff, read_stalled_work
from octy_worker.settings import WorkerSettings

_CLOCKS_DIFFER = 60.0  # seconds
_LOCK_TIMEOUT = 2.0  # seconds for the write lock
_WRITES = 3  # the fastest counts: one slow write does not mean a slow disk


_PASSED = {
    "alerts": "all were sent in time",
    "incidents": "none is stalled or waits for staff",
    "new keys": "all can be collected",
    "mails": "none is delayed, rejected or withheld",
    "webhook deliveries": "none is delayed or failed",
    "app commits": "none failed in the last 10 minutes",
    "releases": "all app processes run this release",
    "database write": "a row was committed and deleted again",
    "disk": "enough free space, or not on this machine",
    "clocks": "this host's clock agrees with the database server's",
}


def check_stalled_work(settings: WorkerSettings) -> Iterator[Check]:
    """Return a check for each problem, and one for each topic without a problem."""
    try:
        with opened_database(settings, busy_timeout=_LOCK_TIMEOUT) as database:
            found = [*_work_problems(database), *_database_problems(database)]
    except OctyError:
        yield from (unchecked(name, "the database is not available") for name in _PASSED)
        return
    for name, text in _PASSED.items():
        own = [check for check in found if check.name == name]
        yield from own or [passed(name, text)]


def _work_problems(database: Database) -> Iterator[Check]:
    with database.read_session() as session:
        yield from _alert_problems(session)
        found, waiting = read_stalled_work(session, now()), count_waiting_for_staff(session)
        withheld = sum(capped_by_kind(session, now()).values())
    for code, backlog in (
        ("incidents-stalled", found.incidents_stalled),
        ("mails-retrying", found.mails_retrying),
        ("webhooks-retrying", found.webhooks_retrying),
    ):
        if backlog.count:
            yield problem(code, count=backlog.count, minutes=_minutes(backlog.oldest))
    for code, count in (
        ("alerts-failed", found.alerts_failed),
        ("incidents-need-staff", waiting),
        ("keys-refused", found.keys_refused),
        ("keys-uncollected", found.keys_uncollected),
        ("mails-refused", found.mails_refused),
        ("mails-withheld", withheld),
        ("webhooks-failed", found.webhooks_failed),
        ("commits-failing", found.apps_failing),
        ("releases-differ", found.apps_of_other_release),
    ):
        if count:
            yield problem(code, count=count)


def _alert_problems(session: Session) -> Iterator[Check]:
    hold, unsent = current_hold(session, now()), unsent_alerts(session, now())
    if hold is not None:
        yield problem("alerts-held", until=format_time(hold.ends_at), evidence=hold.evidence)
    if unsent.oldest > ALERT_LATE:
        yield problem("alerts-late", count=unsent.count, minutes=_minutes(unsent.oldest))


def _database_problems(database: Database) -> Iterator[Check]:
    try:
        seconds = min(write_probe(database, now()) for _ in range(_WRITES))
    except OctyError as error:
        yield problem("write-failed", error=error)
    else:
        if seconds > SLOW:
            yield problem("write-slow", seconds=f"{seconds:.1f}")
    room, offset = disk_space(database), clock_offset(database, now)
    if room is not None and room.is_low:
        yield problem("disk-nearly-full", free=room.free // 1_000_000)
    if offset is not None and abs(offset) > _CLOCKS_DIFFER:
        yield problem("clocks-differ", seconds=round(abs(offset)))


def _minutes(seconds: float) -> int:
    return int(seconds // 60)
