"""`python -m proofs.load.outages`: take the database away under load and bring it back, in every way.

While it is away, remembered key pairs are accepted (for the grace period, if the database can't even be read),
everything else that needs it is 503 with Retry-After in bounded time, and no counted 401 is sent. Afterwards all is
back by itself, and what is on disk equals what clients were answered, to the last request.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from pathlib import Path

from support.postgres import PostgresServer
from support.world import World

from proofs.load import postgres_outages, sqlite_outages
from proofs.load.databases import chosen_databases, fresh_world, proof_parser
from proofs.load.http_clients import statuses, times
from proofs.load.outage_run import RECOVERY_TIMEOUT, RIGHT_STATUS, KeyPairs, Limits, OutageRun
from proofs.load.report import Report, conclude, in_ms
from proofs.load.servers import ADAPTERS, Server, serving

Outage = Callable[[World, Server], AbstractContextManager[None]]
KINDS: dict[str, dict[str, Outage]] = {"sqlite": sqlite_outages.KINDS, "postgresql": postgres_outages.KINDS}
_UNREADABLE = sqlite_outages.UNREADABLE | postgres_outages.UNREADABLE
_EARLY, _LATE = 0.75, 0.05  # seconds: the feed is read four times a second, by a thread that has to get its turn
_RETRY = 0.5  # seconds that the recorder waits after a failed commit
_SLACK = 1.0  # seconds that a busy machine may add
_BATCH = 20  # outcomes: more than these clients send during one commit
_MORE_THREADS = 16  # all that gunicorn has, and has made only as many of as were needed


def measure(world: World, adapter: str, kind: str, limits: Limits) -> Report:
    report, unreadable = Report(f"{kind}, {adapter}"), kind in _UNREADABLE
    roles = ("remembered", "fresh", "attacked", "other")
    key_pairs = KeyPairs(**{role: world.register(role) for role in roles})
    with serving(world, limits.settings()) as group:
        server = group.start(adapter)
        run = OutageRun(key_pairs, server)
        try:
            asyncio.run(run.run(KINDS[world.database_kind][kind](world, server), limits))
        except AssertionError:
            last = {role: some[-1].status for role, some in run.exchanges.items()}
            report.expect(False, f"not back {RECOVERY_TIMEOUT:g} s later: {last}")
            report.figure("the end of the server's log", server.process.log_tail())
        group.stop()
    _check_outage(report, run, limits, unreadable=unreadable)
    _check_records(report, world, run, key_pairs, unreadable=unreadable)
    return report


def _check_outage(report: Report, run: OutageRun, limits: Limits, *, unreadable: bool) -> None:
    during = {role: dict(statuses(run.during(role))) for role in RIGHT_STATUS}
    report.figure("while the database was away", during)
    allowed = {
        "remembered": {200, 503} if unreadable else {200},
        "fresh": {503} if unreadable else {200},
        "wrong": {503},
        "unknown": {503},
        "none": {401},
    }
    for role, some in allowed.items():
        report.expect(bool(during[role]) and set(during[role]) <= some, f"{role} got {during[role]}, not only {some}")
    odd = set(statuses(run.all())) - {200, 401, 503}
    report.expect(not odd, f"somebody got {odd}")
    if unreadable:
        _check_grace_period(report, run, limits.grace)
    report.figure("remembered key pair took", in_ms(times(run.during("remembered"))))
    refused = run.all(503)
    report.expect(all(one.retry_after for one in refused), "a 503 without Retry-After")
    report.figure("time to a 503", in_ms(times(refused)))
    # A batch that has begun waits for its lock (half the time), the next one waits for its retry and once more.
    most = 1.5 * limits.commit_timeout + _RETRY + _SLACK
    report.expect(max(times(refused), default=0.0) < most, f"a 503 took more than {most:g} s")
    back = [run.right(role)[0].answered - run.ended for role in RIGHT_STATUS if run.right(role)]
    report.figure("server's threads, as the outage began and as it ended", run.threads)
    report.expect(run.threads[1] <= run.threads[0] + _MORE_THREADS, f"threads piled up: {run.threads}")
    report.figure("all back after", f"{max(back, default=float('nan')):.2f} s")


def _check_grace_period(report: Report, run: OutageRun, grace: float) -> None:
    """Remembered key pairs are accepted while the feed's last read is no older than the grace period, and not longer.

    The last read was after the outage began to come, which takes its time, and before it was there.
    """
    accepted, refused = run.last_accepted() - run.begun, run.first_refused() - run.coming_at
    figures = f"accepted until {accepted:.2f} s, refused from {refused:.2f} s on"
    report.figure(f"remembered key pair, with a grace period of {grace:g} s", figures)
    report.expect(accepted < grace + _LATE, f"the grace period of {grace:g} s lasted {accepted:.2f} s")
    report.expect(refused > grace - _EARLY, f"the grace period of {grace:g} s was over after {refused:.2f} s")


def _check_records(report: Report, world: World, run: OutageRun, key_pairs: KeyPairs, *, unreadable: bool) -> None:
    """Every response is on disk as what was verified, whatever its client was told, and nothing else is.

    A 503 whose secret could be verified, by the database or by memory, counts as wrong; one that could not be is
    `database_unavailable`. What was being committed when the database went away is written again, because its
    result is unknown: then up to `twice` outcomes may stand there twice. None is ever missing.
    """
    twice = _BATCH if unreadable else 0
    seen = {role: statuses(some) for role, some in run.exchanges.items()}
    wrong_secrets = world.recorded(key_pairs.attacked.public_key).get("wrong_secret", 0)
    recorded = {**world.recorded(), "wrong_secret": wrong_secrets}
    report.between("missing", recorded.get("missing", 0), seen["none"][401], seen["none"][401] + twice)
    verified = 0  # of those who were told 503
    for outcome, role, bounds in (
        ("wrong_secret", "wrong", run.verified_by_memory),
        ("unknown_key", "unknown", run.verified_by_database),
    ):
        least, most = bounds(role) if unreadable else (seen[role][503],) * 2
        told, count = seen[role][401], recorded.get(outcome, 0)
        report.between(outcome, count, told + least, told + most + twice)
        verified += count - told
    report.figure("of them told 503", verified)
    timed_out = world.recorded(key_pairs.other.public_key).get("wrong_secret", 0)
    unverified = recorded.get("database_unavailable", 0)
    if not unreadable:
        report.between("database_unavailable", unverified, 0, run.given_up)
    away = len(run.all(503))
    report.between("told 503 or nothing", unverified + verified + timed_out, away - twice, away + twice + run.given_up)
    for role in ("remembered", "fresh"):
        accepted = world.recorded(getattr(key_pairs, role).public_key).get("accepted", 0)
        report.between(f"accepted, {role}", accepted, seen[role][200], seen[role][200] + twice)
    attacked = {"key": key_pairs.attacked.public_key}
    streak = world.rows("SELECT length FROM streak WHERE public_key = :key AND network = ''", **attacked)
    report.same("streak", streak, [(wrong_secrets,)])
    report.same("incidents", world.rows("SELECT length FROM incident WHERE public_key = :key", **attacked), [(20,)])


def full_disk(adapters: Sequence[str], limits: Limits) -> Report:
    """Measure a full disk in a process that has a small one of its own.

    Where the kernel allows none, the writes that it refuses (`writes_refused`), measured anyway, are all that is shown.
    """
    report = Report("disk_full")
    seconds = (f"--grace={limits.grace}", f"--commit-timeout={limits.commit_timeout}", f"--length={limits.length}")
    options = [*seconds, f"--attackers={limits.attackers}", *(f"--adapter={adapter}" for adapter in adapters)]
    proof = [sys.executable, "-m", "proofs.load.outages", "--database=sqlite", "--kind=disk_full"]
    done = sqlite_outages.with_small_disk([*proof, *options])
    if done is None:
        report.figure("a disk of its own", "not allowed here; see writes_refused")
    else:
        report.same("exit status on a small disk", done.returncode, 0)
    return report


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--kind", action="append", choices=[k for kinds in KINDS.values() for k in kinds])
    parser.add_argument("--adapter", action="append", choices=ADAPTERS, help="default: both")
    parser.add_argument("--grace", type=float, default=2.0)
    parser.add_argument("--commit-timeout", type=float, default=1.0)
    parser.add_argument("--length", type=float, default=4.0, help="seconds that the database is away")
    parser.add_argument("--attackers", type=int, default=4, help="connections that send wrong secrets")
    parser.add_argument("--folder", type=Path, help="where to put SQLite databases; its disk may be filled up")
    options = parser.parse_args()
    limits = Limits(options.grace, options.commit_timeout, options.length, options.attackers)
    adapters, reports = options.adapter or ADAPTERS, []
    for database in chosen_databases(options.database):
        kinds = [kind for kind in KINDS[database] if kind in (options.kind or KINDS[database])]
        if "disk_full" in kinds and options.folder is None:
            kinds.remove("disk_full")
            reports.append(full_disk(adapters, limits))
        with ExitStack() as stack:
            server = stack.enter_context(PostgresServer()) if database == "postgresql" else None
            for kind, adapter in product(kinds, adapters):
                folder = None if options.folder is None else options.folder / f"{adapter}-{kind}"
                with fresh_world(database, server, folder=folder) as world:
                    reports.append(measure(world, adapter, kind, limits))
    return conclude("outages", reports)


if __name__ == "__main__":
    sys.exit(main())
