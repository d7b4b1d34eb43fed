"""What came of the work: alerts, incidents, keys, mails, webhooks, app processes, a real write, the disk, clocks.

Here: the table of problems with their words, and which of them there are. Not here: the queries (`octy_worker.results`,
`octy_worker.database_probe`), what is reachable (the other looks). `docs/doctor.md` lists the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import Session

from octy_middleware.database import Database
from octy_middleware.errors import OctyError
from octy_worker.cli.checks.check import Check, fine, unchecked, wrong
from octy_worker.cli.console import moment
from octy_worker.cli.surroundings import now
from octy_worker.database_probe import SLOW, clock_offset, room_of, write_probe
from octy_worker.mail.holding import hold_now
from octy_worker.mail.withheld import unsent_alerts, withheld_by_kind
from octy_worker.results import ALERT_LATE, read_results, staff_waits_for
from octy_worker.settings import WorkerSettings

_CLOCKS_DIFFER = 60.0  # seconds
_PATIENCE = 2.0  # seconds for the write lock
_WRITES = 3  # of which the fastest counts: a busy moment is no slow disk


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that can be wrong: its check, what is found, and what to do."""

    name: str
    found: str
    to_do: str


PROBLEMS = {
    "alerts-late": Problem(
        "alerts",
        "{count} alerts have not left, the oldest for {minutes} minutes; these customers know of nothing",
        "see 'outbox', 'worker' and 'mail server' here, and `octy incidents held`",
    ),
    "alerts-held": Problem(
        "alerts",
        "alerts are held until {until}, since it looks like a fault of our own: {evidence}",
        "`octy incidents held` shows the evidence, `octy incidents release` lets them go",
    ),
    "alerts-failed": Problem(
        "alerts",
        "{count} alerts were refused for good; these customers know of nothing",
        "`octy incidents list` shows whose; reach them by another way",
    ),
    "incidents-stalled": Problem(
        "incidents",
        "{count} incidents were answered, and nothing followed for {minutes} minutes",
        "see the workflow in Temporal's Web UI and the worker's log; `octy incidents reconcile` starts a missing one",
    ),
    "incidents-need-staff": Problem(
        "incidents", "{count} incidents wait for support staff", "`octy incidents list` shows them"
    ),
    "keys-refused": Problem(
        "new keys",
        "the mail with {count} customers' new keys was refused for good, so they can't collect them",
        "`octy accounts show` has the server's answer; correct the address, then `octy keys regenerate`",
    ),
    "keys-uncollected": Problem(
        "new keys",
        "{count} customers have no usable keys: nobody collected the new ones within 3 days",
        "call them, then `octy keys regenerate`",
    ),
    "mails-retrying": Problem(
        "mails",
        "{count} mails are tried again and again, the oldest for {minutes} minutes",
        "`octy accounts show` has the server's answer; see 'mail server' here",
    ),
    "mails-refused": Problem(
        "mails",
        "{count} mails were refused for good within a day",
        "the worker's log has the codes; is the sender's address accepted, are the recipients' right?",
    ),
    "mails-withheld": Problem(
        "mails",
        "the daily cap withholds {count} reminders or notices",
        "`octy incidents list` shows whose; they are ordered again after a day",
    ),
    "webhooks-retrying": Problem(
        "webhooks sent",
        "{count} webhooks do not arrive, the oldest for {minutes} minutes",
        "`octy webhooks list` shows which server answers what; they are tried for three days",
    ),
    "webhooks-failed": Problem(
        "webhooks sent",
        "{count} webhooks of the last 4 days were given up",
        "tell the customers whose servers they are; `octy webhooks retry` sends them again",
    ),
    "commits-failing": Problem(
        "app commits",
        "commits failed in {count} app processes within 10 minutes; requests that must be recorded are 503",
        "'apps' here has the error; is the disk full, is the database overloaded?",
    ),
    "releases-differ": Problem(
        "releases",
        "{count} app processes run another release than this one",
        "bring apps and workers to one release",
    ),
    "write-failed": Problem(
        "database write",
        "a row can't be committed: {error}",
        "is the disk full, may this user write there, is the server read-only, does a process hang?",
    ),
    "write-slow": Problem(
        "database write",
        "committing a row took {seconds} s; each request that must be recorded waits for a commit",
        "see the disk, and which long transactions there are",
    ),
    "disk-nearly-full": Problem(
        "disk",
        "{free} MB are free beside the database; when it is full, requests that must be recorded are 503",
        "make room; `octy db prune` drops what is past its time",
    ),
    "clocks-differ": Problem(
        "clocks",
        "this host's clock is {seconds} s away from the database server's; times in mails and deadlines are wrong",
        "switch on NTP on both",
    ),
}
_FINE = {
    "alerts": "each left in time",
    "incidents": "each moves, and none waits for staff",
    "new keys": "nobody waits for keys that can't be collected",
    "mails": "none is stuck, refused or withheld",
    "webhooks sent": "none is stuck or given up",
    "app commits": "none failed within 10 minutes",
    "releases": "one for apps and worker",
    "database write": "a row was committed and taken away again",
    "disk": "enough room, or a server's own",
    "clocks": "this host and the database agree",
}


def look_at_results(settings: WorkerSettings) -> Iterator[Check]:
    """Look at what came of the work: a check for each problem, and one for each topic without any."""
    try:
        database = Database(settings.database_url, busy_timeout=_PATIENCE)
        try:
            database.check_schema()
            found = [*_problems_of_work(database), *_problems_of_database(database)]
        finally:
            database.close()
    except OctyError:
        yield from (unchecked(name, "needs the database") for name in _FINE)
        return
    for name, said in _FINE.items():
        own = [check for check in found if check.name == name]
        yield from own or [fine(name, said)]


def _problem(code: str, **values: object) -> Check:
    problem = PROBLEMS[code]
    return wrong(problem.name, problem.found.format(**values), problem.to_do)


def _problems_of_work(database: Database) -> Iterator[Check]:
    with database.read_session() as session:
        yield from _problems_of_alerts(session)
        found, waiting = read_results(session, now()), staff_waits_for(session)
        withheld = sum(withheld_by_kind(session, now()).values())
    for code, backlog in (
        ("incidents-stalled", found.incidents_stalled),
        ("mails-retrying", found.mails_retrying),
        ("webhooks-retrying", found.webhooks_retrying),
    ):
        if backlog.count:
            yield _problem(code, count=backlog.count, minutes=_minutes(backlog.oldest))
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
            yield _problem(code, count=count)


def _problems_of_alerts(session: Session) -> Iterator[Check]:
    hold, unsent = hold_now(session, now()), unsent_alerts(session, now())
    if hold is not None:
        yield _problem("alerts-held", until=moment(hold.ends_at), evidence=hold.evidence)
    if unsent.oldest > ALERT_LATE:
        yield _problem("alerts-late", count=unsent.count, minutes=_minutes(unsent.oldest))


def _problems_of_database(database: Database) -> Iterator[Check]:
    try:
        seconds = min(write_probe(database, now()) for _ in range(_WRITES))
    except OctyError as error:
        yield _problem("write-failed", error=error)
    else:
        if seconds > SLOW:
            yield _problem("write-slow", seconds=f"{seconds:.1f}")
    room, offset = room_of(database), clock_offset(database, now)
    if room is not None and room.is_scarce:
        yield _problem("disk-nearly-full", free=room.free // 1_000_000)
    if offset is not None and abs(offset) > _CLOCKS_DIFFER:
        yield _problem("clocks-differ", seconds=round(abs(offset)))


def _minutes(seconds: float) -> int:
    return int(seconds // 60)
