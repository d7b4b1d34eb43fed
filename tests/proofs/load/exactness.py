"""`python -m proofs.load.exactness`: many processes of many threads at the same keys; the tables must be exact.

Each process has an authenticator of its own and each thread asks it, request after request, with right and wrong
secrets, for unknown and for retired pairs. Afterwards every request stands in the log of commits once, in its thread's
order; and counts, streaks, cases and what the outbox tells of them are what an oracle says that reads the log, one by
one.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from multiprocessing.synchronize import Barrier as ProcessBarrier
from threading import Barrier
from typing import NamedTuple

from support.world import World

from octy_middleware import Authenticator, Settings
from octy_middleware.http.client_address import counted_source
from octy_middleware.recording import outcome_writer
from proofs.load.commit_log import Commit, LoggedDatabase, create_commit_log, log_batches, read_commit_log
from proofs.load.databases import add_database_option, chosen_databases, fresh_world
from proofs.load.reference_policy import OpenedIncident, ReferencePolicy
from proofs.load.report import Report, conclude
from proofs.load.traffic import TrafficKeys, attempts, sources

_PATIENCE = 120.0  # seconds for a commit: nothing may be given up, however slow the machine is
_CROWD = 100  # keys; with more of them, some commits must have more than are locked one by one
_LOCKED = 24  # so many are, here: the product's own limit is seldom reached by 50 threads
_SHOWN = 5  # differences that a fault names
_MEETINGS = 10  # times that all threads of all processes wait for each other: none can be done before another begins
_meeting: list[ProcessBarrier] = []  # of this process, once it is one of those that send


@dataclass(frozen=True)
class Share:
    """What one process does."""

    url: str
    peppers: str
    cast: TrafficKeys
    threads: range
    requests: int  # of each thread
    seed: int


class Done(NamedTuple):
    """How one outcome was expected: by its thread, in order."""

    outcome: str
    public_key: str
    source: str


def run_share(share: Share) -> tuple[dict[int, list[Done]], list[str]]:
    """Send all threads' requests; return what each sent, and what did not end as it had to."""
    log_batches()
    outcome_writer._MAX_LOCKED_KEYS = _LOCKED
    settings = Settings.build(
        database_url=share.url, peppers=share.peppers, commit_timeout=_PATIENCE, sources_per_minute=1_000_000
    )
    authenticator = Authenticator(settings, database=LoggedDatabase(share.url, busy_timeout=_PATIENCE / 2))
    together = Barrier(len(share.threads), action=lambda: _meeting[0].wait(_PATIENCE))
    with ThreadPoolExecutor(len(share.threads)) as threads:
        ends = list(threads.map(lambda thread: _run_thread(authenticator, share, thread, together), share.threads))
    authenticator.close()
    sent = {thread: done for thread, (done, _) in zip(share.threads, ends, strict=True)}
    return sent, [fault for _, faults in ends for fault in faults]


def _run_thread(
    authenticator: Authenticator, share: Share, thread: int, together: Barrier
) -> tuple[list[Done], list[str]]:
    done, faults = [], []
    meets_at = {share.requests * number // _MEETINGS for number in range(_MEETINGS)}
    for number, attempt in enumerate(attempts(share.cast, thread, share.requests, share.seed)):
        if number in meets_at:
            together.wait(_PATIENCE)
        outcome = authenticator.decide(attempt.request).outcome
        if outcome != attempt.outcome:
            faults.append(f"{attempt[:3]} ended as {outcome}")
        done.append(Done(*attempt[:3]))
    return done, faults


def _gather(gathered: ProcessBarrier, meeting: ProcessBarrier) -> None:
    _meeting.append(meeting)
    gathered.wait(_PATIENCE)


def measure(world: World, processes: int, threads: int, requests: int, *, cold: int, seed: int) -> Report:
    """Run it and compare; `requests` is the sum over all threads."""
    each = max(1, requests // (processes * threads))
    report = Report(f"{world.store}: {processes} processes x {threads} threads x {each} requests (seed {seed})")
    cast = TrafficKeys.of(world, cold)
    create_commit_log(world.database)
    parts = [range(n * threads, (n + 1) * threads) for n in range(processes)]
    shares = [Share(world.url, world.peppers.export(), cast, part, each, seed) for part in parts]
    context = multiprocessing.get_context("spawn")
    gathered = context.Barrier(processes + 1)  # every process is there before the first begins
    meeting = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _gather, (gathered, meeting)) as pool:
        futures = [pool.submit(run_share, share) for share in shares]
        gathered.wait(_PATIENCE)
        begun = time.monotonic()
        ends = [future.result() for future in futures]
        seconds = time.monotonic() - begun
    faults = [fault for _, some in ends for fault in some]
    report.expect(not faults, f"{len(faults)} wrong answers: {faults[:_SHOWN]}")
    log = read_commit_log(world.database)
    _describe(report, log, cast, processes * threads * each / seconds)
    _check_log(report, log, dict(chain.from_iterable(sent.items() for sent, _ in ends)))
    _check_tables(report, world, log)
    return report


def _describe(report: Report, log: Sequence[Commit], cast: TrafficKeys, rate: float) -> None:
    """Say how hard it was: what never met can't go wrong."""
    report.figure("requests a second", round(rate))
    sizes = [len(commit.batch) for commit in log]
    report.figure("commits, outcomes in the largest", (len(log), max(sizes)))
    report.figure("commits alone, with more keys than are locked one by one", sum(commit.crowd for commit in log))
    hottest = cast.hot[0].public_key
    turns = [commit.process for commit in log if any(line.public_key == hottest for line in commit.batch)]
    changes = sum(a != b for a, b in pairwise(turns))
    report.figure("commits about the hottest key, and how often by another process than before", (len(turns), changes))
    report.expect(changes >= _MEETINGS, "the processes went one after the other: nothing was shown")
    if len(cast.cold) > _CROWD:
        report.expect(any(commit.crowd for commit in log), "no commit had many keys")


def _check_log(report: Report, log: Sequence[Commit], sent: Mapping[int, list[Done]]) -> None:
    """Every outcome stands in the log once, and those of one thread in the order in which it sent them."""
    owner = {counted_source(source): thread for thread in sent for source in sources(thread)}
    logged: defaultdict[int, list[Done]] = defaultdict(list)
    for commit in log:
        for line in commit.batch:
            logged[owner[line.source]].append(Done(line.outcome, line.public_key, line.source))
    report.same("requests that were sent, recorded", sum(map(len, logged.values())), sum(map(len, sent.values())))
    told = {thread: [one._replace(source=counted_source(one.source)) for one in done] for thread, done in sent.items()}
    wrong = sum(logged[thread] != done for thread, done in told.items())
    report.same("threads whose outcomes did not commit in their order", wrong, 0)


def _check_tables(report: Report, world: World, log: Sequence[Commit]) -> None:
    oracle = ReferencePolicy()
    for commit in log:
        oracle.read(commit.batch)
    counts = world.rows("SELECT public_key, minute, source, outcome, count FROM outcome_minute")
    _compare(report, "counts", {tuple(place): count for *place, count in counts}, oracle.counts)
    streaks = world.rows("SELECT public_key, network, length, first_at, last_at FROM streak WHERE public_key <> ''")
    _compare(report, "streaks", {(key, network): tuple(rest) for key, network, *rest in streaks}, oracle.streaks())
    incidents = world.rows(
        "SELECT public_key, rule, network, length, request_id, first_at, opened_at "
        "FROM incident WHERE closed_at IS NULL"
    )
    report.same("keys with more than one case", len(incidents) - len({key for key, *_ in incidents}), 0)
    _compare(report, "cases", {key: OpenedIncident(*rest) for key, *rest in incidents}, oracle.cases)
    _compare_sums(report, world, oracle)
    report.figure("cases by rule", dict(Counter(case.rule for case in oracle.cases.values())))
    _compare(report, "openings told", _told(world, "incident_opened"), {key: [None] for key in oracle.cases})
    _compare(report, "doublings told", _told(world, "incident_grew"), oracle.told)


def _compare_sums(report: Report, world: World, oracle: ReferencePolicy) -> None:
    """The sums of each case, by source and by time, hold all its attempts and no earlier ones."""
    rows = world.rows(
        "SELECT i.public_key, c.bucket < 0, SUM(c.count) FROM incident i JOIN incident_count c ON c.subject = i.id "
        "WHERE i.closed_at IS NULL GROUP BY i.public_key, c.bucket < 0"
    )
    found = {(key, bool(by_source)): int(total) for key, by_source, total in rows}
    bounds = oracle.attempts()
    odd = [
        (key, by_source, found.get((key, by_source)), least, most)
        for key, (least, most) in bounds.items()
        for by_source in (True, False)
        if not least <= found.get((key, by_source), 0) <= most
    ]
    report.same("sums of cases", len(found), 2 * len(bounds))
    report.expect(not odd, f"{len(odd)} sums of cases are not the oracle's: {odd[:_SHOWN]}")


def _told(world: World, kind: str) -> dict[str, list[int | None]]:
    """Return what the outbox says, in its order, by key; nothing of what has not been told of."""
    told: dict[str, list[int | None]] = {}
    rows = world.rows(
        "SELECT i.public_key, o.detail FROM outbox o JOIN incident i ON i.id = o.subject_id "
        "WHERE o.kind = :kind ORDER BY o.id",
        kind=kind,
    )
    for public_key, detail in rows:
        read = json.loads(detail) if isinstance(detail, str) else detail  # as each driver has it
        told.setdefault(public_key, []).append(read.get("failures"))
    return told


def _compare(report: Report, what: str, found: Mapping[Hashable, object], wanted: Mapping[Hashable, object]) -> None:
    report.figure(f"{what}, the oracle's", len(wanted))
    odd = sorted(place for place in found.keys() | wanted.keys() if found.get(place) != wanted.get(place))
    shown = {place: (found.get(place), wanted.get(place)) for place in odd[:_SHOWN]}
    report.expect(bool(wanted), f"there were no {what}: nothing was shown")
    report.expect(not odd, f"{len(odd)} {what} are not the oracle's (found, wanted): {shown}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_option(parser)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=50, help="of each process")
    parser.add_argument("--requests", type=int, default=100_000, help="of all threads together")
    parser.add_argument("--cold", type=int, default=120, help="keys for batches of many keys")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    reports = []
    for store in chosen_databases(options):
        with fresh_world(store) as world:
            sizes = options.processes, options.threads, options.requests
            reports.append(measure(world, *sizes, cold=options.cold, seed=options.seed))
    return conclude("proofs.load.exactness", reports)


if __name__ == "__main__":
    sys.exit(main())
