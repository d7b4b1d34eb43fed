"""`python -m proofs.load.outages`: take the database away under load and bring it back, in every way.

While it is away, remembered pairs pass (for the grace, if the store can't even be read), everything else that needs it
is 503 with Retry-After in bounded time, and no counted 401 is sent. Afterwards all is back by itself, and what is on
disk equals what clients were answered, to the last request.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from support.postgres import PostgresServer
from support.world import Keys, World

from proofs.load import postgres_outages, sqlite_outages
from proofs.load.databases import add_database_option, chosen_databases, fresh_world
from proofs.load.http_clients import statuses, times
from proofs.load.kinds import Kind
from proofs.load.outage_run import RECOVERY_TIMEOUT, WELL, Limits, OutageRun, Requests
from proofs.load.report import Report, conclude, in_ms
from proofs.load.servers import ADAPTERS, serving
from proofs.load.sqlite_outages import with_small_disk

KINDS = {"sqlite": sqlite_outages.KINDS, "postgresql": postgres_outages.KINDS}

_EARLY, _LATE = 0.75, 0.05  # seconds: the feed is read four times a second, by a thread that has to get its turn
_RETRY = 0.5  # seconds that the recorder rests after a failed commit
_SLACK = 1.0  # seconds that a busy machine may add
_BATCH = 20  # outcomes: more than this crowd sends during one commit
_MORE_THREADS = 16  # all that gunicorn has, and has made only as many of as were needed


def measure(world: World, adapter: str, name: str, limits: Limits) -> Report:
    report, kind = Report(f"{name}, {adapter}"), KINDS[world.store][name]
    people = [world.register(role) for role in ("remembered", "fresh", "attacked", "other")]
    crowd = Requests.of(*people)
    with serving(world, limits.settings()) as fleet:
        server = fleet.start(adapter)
        watch = OutageRun(crowd, server)
        try:
            asyncio.run(watch.run(world, kind, limits))
        except AssertionError:
            report.expect(False, f"not back {RECOVERY_TIMEOUT:g} s later: {_last(crowd)}")
            report.figure("the server's last words", server.process.log_tail())
        fleet.stop()
    _check_outage(report, crowd, watch, kind, limits)
    _check_books(report, world, watch, people, kind)
    return report


def _last(crowd: Requests) -> dict[str, int]:
    return {role: shots[-1].status for role, shots in crowd.shots.items()}


def _check_outage(report: Report, crowd: Requests, watch: OutageRun, kind: Kind, limits: Limits) -> None:
    during = {role: dict(statuses(watch.during(role))) for role in crowd.asks}
    report.figure("while the store was away", during)
    right = {200, 503} if kind.blind else {200}
    allowed = {"remembered": right, "fresh": {503} if kind.blind else {200}, "wrong": {503}, "unknown": {503}}
    for role, some in {**allowed, "none": {401}}.items():
        report.expect(bool(during[role]) and set(during[role]) <= some, f"{role} got {during[role]}, not only {some}")
    odd = set(statuses(crowd.everyone())) - {200, 401, 503}
    report.expect(not odd, f"somebody got {odd}")
    if kind.blind:
        _check_grace(report, watch, limits.grace)
    report.figure("remembered pair took", in_ms(times(watch.during("remembered"))))
    refused = crowd.everyone(503)
    report.expect(all(shot.retry_after for shot in refused), "a 503 without Retry-After")
    report.figure("time to a 503", in_ms(times(refused)))
    # A batch that has begun waits for its lock (half the time), the next one rests and waits once more.
    most = 1.5 * limits.commit_timeout + _RETRY + _SLACK
    report.expect(max(times(refused), default=0.0) < most, f"a 503 took more than {most:g} s")
    back = [watch.well(role)[0].answered - watch.ended for role in WELL if watch.well(role)]
    report.figure("server's threads, as the outage began and as it ended", watch.threads)
    report.expect(watch.threads[1] <= watch.threads[0] + _MORE_THREADS, f"threads piled up: {watch.threads}")
    report.figure("all back after", f"{max(back, default=float('nan')):.2f} s")


def _check_grace(report: Report, watch: OutageRun, grace: float) -> None:
    """Remembered pairs pass as long as the feed's last look is no older than the grace, and not longer.

    The last look was after the outage began to come, which takes its time, and before it was there.
    """
    accepted, refused = watch.last_accepted() - watch.begun, watch.first_refused() - watch.came
    figures = f"accepted until {accepted:.2f} s, refused from {refused:.2f} s on"
    report.figure(f"remembered pair, with a grace of {grace:g} s", figures)
    report.expect(accepted < grace + _LATE, f"the grace of {grace:g} s lasted {accepted:.2f} s")
    report.expect(refused > grace - _EARLY, f"the grace of {grace:g} s was over after {refused:.2f} s")


def _check_books(report: Report, world: World, watch: OutageRun, people: Sequence[Keys], kind: Kind) -> None:
    """Every answer is on disk as what was judged, whatever its client was told, and nothing else is.

    A 503 whose secret could be judged, by the store or by memory, counts as wrong; one that nobody could judge is
    `database_unavailable`. What was being committed at the very moment when the store went away is written again, for
    nobody could know what became of it: then up to `twice` outcomes may stand there twice. None is ever missing.
    """
    remembered, fresh, attacked, other = people
    twice = _BATCH if kind.blind else 0
    seen = {role: statuses(shots) for role, shots in watch.crowd.shots.items()}
    recorded = {**world.recorded(), "wrong_secret": world.recorded(attacked.public_key).get("wrong_secret", 0)}
    report.between("missing", recorded.get("missing", 0), seen["none"][401], seen["none"][401] + twice)
    judged = 0  # of those who were told 503
    for outcome, role, (least, most) in (
        ("wrong_secret", "wrong", watch.judged_by_memory("wrong") if kind.blind else (seen["wrong"][503],) * 2),
        ("unknown_key", "unknown", watch.judged_by_store("unknown") if kind.blind else (seen["unknown"][503],) * 2),
    ):
        told, count = seen[role][401], recorded.get(outcome, 0)
        report.between(outcome, count, told + least, told + most + twice)
        judged += count - told
    report.figure("of them told 503", judged)
    impatient = world.recorded(other.public_key).get("wrong_secret", 0)
    unjudged = recorded.get("database_unavailable", 0)
    if not kind.blind:
        report.between("database_unavailable", unjudged, 0, watch.given_up)
    away = len(watch.crowd.everyone(503))
    report.between("told 503 or nothing", unjudged + judged + impatient, away - twice, away + twice + watch.given_up)
    for keys, role in ((remembered, "remembered"), (fresh, "fresh")):
        accepted = world.recorded(keys.public_key).get("accepted", 0)
        report.between(f"accepted, {role}", accepted, seen[role][200], seen[role][200] + twice)
    streak = world.rows("SELECT length FROM streak WHERE public_key = :key AND network = ''", key=attacked.public_key)
    report.same("streak", streak, [(recorded["wrong_secret"],)])
    cases = world.rows("SELECT length FROM incident WHERE public_key = :key", key=attacked.public_key)
    report.same("incidents", cases, [(20,)])


def full_disk(adapters: Sequence[str], limits: Limits) -> Report:
    """Measure a full disk in a process that has a small one of its own.

    Where the kernel lets nobody have one, the refused writes stand for it, which are measured anyway.
    """
    report = Report("disk_full")
    places = [option for adapter in adapters for option in ("--adapter", adapter)]
    done = with_small_disk(
        [
            sys.executable,
            "-m",
            "proofs.load.outages",
            "--store",
            "sqlite",
            "--kind",
            "disk_full",
            *places,
            *limits.options(),
        ]
    )
    if done is None:
        report.figure("a disk of its own", "not allowed here; the refused writes stand for it")
    else:
        report.same("exit status on a small disk", done.returncode, 0)
    return report


def _on_files(folder: Path | None, adapters: Sequence[str], kinds: Sequence[str], limits: Limits) -> list[Report]:
    reports = []
    for kind, adapter in ((kind, adapter) for kind in kinds for adapter in adapters):
        with fresh_world("sqlite", folder=None if folder is None else folder / f"{adapter}-{kind}") as world:
            reports.append(measure(world, adapter, kind, limits))
    return reports


def _on_servers(adapters: Sequence[str], kinds: Sequence[str], limits: Limits) -> list[Report]:
    reports = []
    with PostgresServer() as server:
        for kind, adapter in ((kind, adapter) for kind in kinds for adapter in adapters):
            with fresh_world("postgresql", server) as world:
                reports.append(measure(world, adapter, kind, limits))
    return reports


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_option(parser)
    parser.add_argument(
        "--kind", action="append", choices=[*KINDS["sqlite"], *KINDS["postgresql"]], help="default: all"
    )
    parser.add_argument("--adapter", action="append", choices=ADAPTERS, help="default: both")
    parser.add_argument("--grace", type=float, default=2.0)
    parser.add_argument("--commit-timeout", type=float, default=1.0)
    parser.add_argument("--length", type=float, default=4.0, help="seconds that the store is away")
    parser.add_argument("--attackers", type=int, default=4, help="connections that send wrong secrets")
    parser.add_argument("--folder", type=Path, help="where to put SQLite databases; its disk may be filled up")
    options = parser.parse_args(arguments)
    limits = Limits(options.grace, options.commit_timeout, options.length, options.attackers)
    adapters, places = options.adapter or ADAPTERS, chosen_databases(options)
    kinds = [kind for place in places for kind in KINDS[place] if kind in (options.kind or KINDS[place])]
    if options.folder is not None:
        return conclude("proofs.load.outages", _on_files(options.folder, adapters, kinds, limits))
    reports = _on_files(
        None, adapters, [kind for kind in kinds if kind in KINDS["sqlite"] and kind != "disk_full"], limits
    )
    if "disk_full" in kinds:
        reports.append(full_disk(adapters, limits))
    reports += _on_servers(adapters, [kind for kind in kinds if kind in KINDS["postgresql"]], limits)
    return conclude("proofs.load.outages", reports)


if __name__ == "__main__":
    sys.exit(main())
