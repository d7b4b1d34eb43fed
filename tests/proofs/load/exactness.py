"""`python -m proofs.load.exactness`: many processes of many threads at the same keys; the tables must be exact.

Each process has an authenticator of its own and each thread asks it, request after request, with right and wrong
secrets, for unknown and for retired keys. Afterwards every request stands in the log of commits once, in its thread's
order; and counts, streaks, incidents and their outbox messages are what the reference policy says that reads the log.
"""

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

from support.world import World

from octy_middleware import Authenticator, Settings
from octy_middleware.http.client_address import counted_source
from octy_middleware.recording import outcome_writer
from proofs.load.commit_log import Commit, LoggedDatabase, create_commit_log, log_batches, read_commit_log
from proofs.load.databases import proof_parser, run_proof
from proofs.load.reference_policy import OpenedIncident, ReferencePolicy
from proofs.load.report import Report
from proofs.load.traffic import ExpectedOutcome, TrafficKeys, attempts, sources

_TIMEOUT = 120.0  # seconds for a commit: nothing may be given up, however slow the machine is
_BULK_KEYS = 100  # with more keys, some commits must have more than are locked one by one
_LOCKED = 24  # so many are, here: the product's own limit is seldom reached by 50 threads
_SHOWN = 5  # differences that a fault names
_MEETINGS = 10  # times that all threads of all processes wait for each other: none can be done before another begins
_meeting: list[ProcessBarrier] = []  # of this process, once it is one of those that send


@dataclass(frozen=True)
class Share:
    """What one process does."""

    url: str
    peppers: str
    keys: TrafficKeys
    threads: range
    requests: int  # of each thread
    seed: int


def run_share(share: Share) -> tuple[dict[int, list[ExpectedOutcome]], list[str]]:
    """Send all threads' requests; return what each sent, and what did not end as it had to."""
    log_batches()
    outcome_writer.MAX_LOCKED_KEYS = _LOCKED
    settings = Settings.build(
        database_url=share.url, peppers=share.peppers, commit_timeout=_TIMEOUT, sources_per_minute=1_000_000
    )
    authenticator = Authenticator(settings, database=LoggedDatabase(share.url, busy_timeout=_TIMEOUT / 2))
    together = Barrier(len(share.threads), action=lambda: _meeting[0].wait(_TIMEOUT))
    meets_at = {share.requests * number // _MEETINGS for number in range(_MEETINGS)}
    faults: list[str] = []

    def run_thread(thread: int) -> list[ExpectedOutcome]:
        sent = []
        for number, (expected, request) in enumerate(attempts(share.keys, thread, share.requests, share.seed)):
            if number in meets_at:
                together.wait(_TIMEOUT)
            outcome = authenticator.decide(request).outcome
            if outcome != expected.outcome:
                faults.append(f"{expected} ended as {outcome}")
            sent.append(expected)
        return sent

    with ThreadPoolExecutor(len(share.threads)) as threads:
        sent = dict(zip(share.threads, threads.map(run_thread, share.threads), strict=True))
    authenticator.close()
    return sent, faults


def _join_processes(started: ProcessBarrier, meeting: ProcessBarrier) -> None:
    _meeting.append(meeting)
    started.wait(_TIMEOUT)


def measure(world: World, processes: int, threads: int, requests: int, *, cold: int, seed: int) -> Report:
    """Run it and compare; `requests` is the sum over all threads."""
    each = max(1, requests // (processes * threads))
    report = Report(f"{world.database_kind}: {processes} processes x {threads} threads x {each} requests (seed {seed})")
    keys = TrafficKeys.register(world, cold)
    create_commit_log(world.database)
    parts = [range(n * threads, (n + 1) * threads) for n in range(processes)]
    shares = [Share(world.url, world.peppers.export(), keys, part, each, seed) for part in parts]
    context = multiprocessing.get_context("spawn")
    started = context.Barrier(processes + 1)  # every process is there before the first begins
    with ProcessPoolExecutor(processes, context, _join_processes, (started, context.Barrier(processes))) as pool:
        futures = [pool.submit(run_share, share) for share in shares]
        started.wait(_TIMEOUT)
        begun = time.monotonic()
        ends = [future.result() for future in futures]
        seconds = time.monotonic() - begun
    faults = [fault for _, some in ends for fault in some]
    report.expect(not faults, f"{len(faults)} wrong answers: {faults[:_SHOWN]}")
    log = read_commit_log(world.database)
    report.figure("requests a second", round(processes * threads * each / seconds))
    _check_contention(report, log, keys)
    _check_log(report, log, dict(chain.from_iterable(sent.items() for sent, _ in ends)))
    _check_tables(report, world, log)
    return report


def _check_contention(report: Report, log: Sequence[Commit], keys: TrafficKeys) -> None:
    """What never met can't go wrong: the processes must have written the same keys in turns."""
    report.figure("commits, outcomes in the largest", (len(log), max(len(commit.batch) for commit in log)))
    report.figure("commits alone, with more keys than are locked one by one", sum(commit.bulk for commit in log))
    hottest = keys.hot[0].public_key
    turns = [commit.process for commit in log if any(one.public_key == hottest for one in commit.batch)]
    changes = sum(a != b for a, b in pairwise(turns))
    report.figure("commits about the hottest key, and how often by another process than before", (len(turns), changes))
    report.expect(changes >= _MEETINGS, "the processes went one after the other: nothing was shown")
    if len(keys.cold) > _BULK_KEYS:
        report.expect(any(commit.bulk for commit in log), "no commit had many keys")


def _check_log(report: Report, log: Sequence[Commit], sent: Mapping[int, list[ExpectedOutcome]]) -> None:
    """Every outcome stands in the log once, and those of one thread in the order in which it sent them."""
    owner = {counted_source(source): thread for thread in sent for source in sources(thread)}
    logged: defaultdict[int, list[ExpectedOutcome]] = defaultdict(list)
    for one in chain.from_iterable(commit.batch for commit in log):
        logged[owner[one.source]].append(ExpectedOutcome(one.outcome, one.public_key, one.source))
    report.same("requests that were sent, recorded", sum(map(len, logged.values())), sum(map(len, sent.values())))
    wrong = sum(
        logged[thread] != [one._replace(source=counted_source(one.source)) for one in expected]
        for thread, expected in sent.items()
    )
    report.same("threads whose outcomes did not commit in their order", wrong, 0)


def _check_tables(report: Report, world: World, log: Sequence[Commit]) -> None:
    policy = ReferencePolicy()
    for commit in log:
        policy.add(commit.batch)
    counts = world.rows("SELECT public_key, minute, source, outcome, count FROM outcome_minute")
    _compare(report, "counts", {tuple(place): count for *place, count in counts}, policy.counts)
    streaks = world.rows("SELECT public_key, network, length, first_at, last_at FROM streak WHERE public_key <> ''")
    _compare(report, "streaks", {(key, network): tuple(rest) for key, network, *rest in streaks}, policy.streaks())
    incidents = world.rows(
        "SELECT public_key, rule, network, length, request_id, first_at, opened_at FROM incident "
        "WHERE closed_at IS NULL"
    )
    report.same("keys with more than one incident", len(incidents) - len({key for key, *_ in incidents}), 0)
    _compare(report, "incidents", {key: OpenedIncident(*rest) for key, *rest in incidents}, policy.incidents)
    _compare_sums(report, world, policy)
    report.figure("incidents by rule", dict(Counter(incident.rule for incident in policy.incidents.values())))
    _compare(
        report,
        "outbox messages of openings",
        _outbox_failures(world, "incident_opened"),
        {key: [None] for key in policy.incidents},
    )
    _compare(report, "outbox messages of doublings", _outbox_failures(world, "incident_grew"), policy.growth)


def _compare_sums(report: Report, world: World, policy: ReferencePolicy) -> None:
    """The sums of each incident, by source and by time, hold all its attempts and no earlier ones."""
    rows = world.rows(
        "SELECT i.public_key, c.bucket < 0, SUM(c.count) FROM incident i JOIN incident_count c ON c.subject = i.id "
        "WHERE i.closed_at IS NULL GROUP BY i.public_key, c.bucket < 0"
    )
    found = {(key, bool(by_source)): int(total) for key, by_source, total in rows}
    bounds = policy.attempts()
    odd = [
        (key, by_source, found.get((key, by_source)), least, most)
        for key, (least, most) in bounds.items()
        for by_source in (True, False)
        if not least <= found.get((key, by_source), 0) <= most
    ]
    report.same("sums of incidents", len(found), 2 * len(bounds))
    report.expect(not odd, f"{len(odd)} sums of incidents differ from the reference policy's: {odd[:_SHOWN]}")


def _outbox_failures(world: World, kind: str) -> dict[str, list[int | None]]:
    """Return the failures that the outbox messages of incidents name, in their order, by key."""
    failures: defaultdict[str, list[int | None]] = defaultdict(list)
    for public_key, detail in world.rows(
        "SELECT i.public_key, o.detail FROM outbox o JOIN incident i ON i.id = o.subject_id "
        "WHERE o.kind = :kind ORDER BY o.id",
        kind=kind,
    ):
        failures[public_key].append(json.loads(detail).get("failures"))
    return failures


def _compare(report: Report, what: str, found: Mapping[Hashable, object], wanted: Mapping[Hashable, object]) -> None:
    report.figure(f"{what}, by the reference policy", len(wanted))
    odd = sorted(place for place in found.keys() | wanted.keys() if found.get(place) != wanted.get(place))
    shown = {place: (found.get(place), wanted.get(place)) for place in odd[:_SHOWN]}
    report.expect(bool(wanted), f"there were no {what}: nothing was shown")
    report.expect(not odd, f"{len(odd)} {what} differ from the reference policy's (found, wanted): {shown}")


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=50, help="of each process")
    parser.add_argument("--requests", type=int, default=100_000, help="of all threads together")
    parser.add_argument("--cold", type=int, default=120, help="keys for batches of many keys")
    parser.add_argument("--seed", type=int, default=1)
    return run_proof("exactness", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
