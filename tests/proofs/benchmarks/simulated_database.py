"""What recording costs in the simulation: app processes that commit batches and wait for each other at the database.

Batches follow the recorder's own rule (`batch_queue`: at once when a client waits or events are queued, else after
`batch_delay`), and commits wait for each other as on PostgreSQL or SQLite. Limits are read from the code; costs were
measured.
"""

import heapq
import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from octy_middleware.recording import outcome_writer, recorder
from octy_middleware.recording.streak import ALL_NETWORKS, next_notify_at
from octy_worker.maintenance.retention.run import STEP_PAUSE, STEP_ROWS
from proofs.benchmarks import simulated_traffic as traffic
from proofs.benchmarks.simulated_traffic import (
    ACCEPTED,
    DEFAULTS,
    SOURCE_BITS,
    SOURCE_MASK,
    UNKNOWN,
    WRONG,
    Load,
    Request,
)
from proofs.load.report import percentile

THRESHOLD, MAX_ATTEMPTS = DEFAULTS["threshold"], DEFAULTS["attempts_per_minute"]
_JITTER = 0.3  # of a commit's time, lognormal: its 90th percentile was 1.4 times the median


class Cost(NamedTuple):
    """Milliseconds of wall time and of CPU on both sides; bytes of write-ahead log."""

    wall: float = 0.0
    app: float = 0.0
    server: float = 0.0
    log: float = 0.0


@dataclass(frozen=True)
class CommitCosts:
    """Fits to the real `OutcomeWriter` with 1 to 1,000 events a batch, other work on the same 2 cores.

    `row`: one of outcome_minute. `first_row`: more for the first of a key and minute. `refusals`: once, if anything in
    the batch is refused. `failed_key`: with its streaks. `refusal`: each.
    """

    commit: Cost
    row: Cost
    first_row: Cost
    refusals: Cost
    failed_key: Cost
    refusal: Cost
    max_shared_keys: int  # most keys of a commit that runs beside others
    load: float  # milliseconds for the key record of a refused request
    row_bytes: dict[str, float] = field(default_factory=dict)  # with indexes, as rows came in

    @property
    def compacted_rows_a_second(self) -> float:
        """An estimate for retention, which works in steps of a fixed size with a fixed pause."""
        step = (self.commit.wall + STEP_ROWS * 2 * self.row.wall) / 1e3  # deleted, inserted
        return STEP_ROWS / (step + STEP_PAUSE)

    def of(self, amounts: Sequence[int]) -> Cost:
        costs = (self.commit, self.row, self.first_row, self.refusals, self.failed_key, self.refusal)
        return Cost(*(sum(n * cost[i] for n, cost in zip(amounts, costs, strict=True)) for i in range(4)))


COSTS = {
    # PostgreSQL 18.6, fsync on, one recorder on loopback: 300 first rows 47 ms, 300 rows that are there 12 ms.
    "postgresql": CommitCosts(
        commit=Cost(2.0, 0.9, 0.7, 200),
        row=Cost(0.04, 0.03, 0.02, 330),
        first_row=Cost(log=160),
        refusals=Cost(2.0, 0.8, 0.9, 300),
        failed_key=Cost(0.07, 0.035, 0.02, 650),
        refusal=Cost(0.02, 0.02, 0.01, 300),
        max_shared_keys=outcome_writer.MAX_LOCKED_KEYS,
        load=1.0,
        row_bytes={"outcome_minute": 222, "attempt": 342, "streak": 252},
    ),
    # SQLite, synchronous=FULL: 300 first rows 22 ms, 300 rows that are there 8.5 ms; all of it is the app's CPU.
    "sqlite": CommitCosts(
        commit=Cost(0.35, 0.3),
        row=Cost(0.027, 0.027),
        first_row=Cost(0.033, 0.033),
        refusals=Cost(0.1, 0.1),
        failed_key=Cost(0.03, 0.03),
        refusal=Cost(0.012, 0.012),
        max_shared_keys=-1,
        load=0.1,
        row_bytes={"outcome_minute": 75, "attempt": 250, "streak": 79},
    ),
}


@dataclass
class Tables:
    """What the tables contain, as far as a batch's cost depends on it."""

    rows: set[int] = field(default_factory=set)  # of outcome_minute
    counters: set[int] = field(default_factory=set)  # with a row of their own
    sources: Counter[int] = field(default_factory=Counter)  # by minute and key
    attempts: Counter[tuple[int, int]] = field(default_factory=Counter)
    streaks: defaultdict[int, dict[Any, int]] = field(default_factory=lambda: defaultdict(dict))
    incidents: dict[int, int] = field(default_factory=dict)  # by key: the length of the next message
    messages: int = 0
    attempt_rows: int = 0

    def write(self, batch: Sequence[Request]) -> tuple[int, int, int, int, int, int]:
        """Write a batch; return the amounts for `CommitCosts.of`."""
        refused = [request for request in batch if request.outcome != ACCEPTED]
        failed = self._advance_streaks(batch) if refused or self.streaks else 0
        for request in refused:
            detail = (request.counter >> SOURCE_BITS, request.outcome)
            self.attempts[detail] += 1
            self.attempt_rows += self.attempts[detail] <= MAX_ATTEMPTS
        rows, new = set(), set()
        for request in batch:
            counter = request.counter
            if counter not in self.counters:
                minute_of_key = counter >> SOURCE_BITS
                new.add(minute_of_key)
                if self.sources[minute_of_key] < traffic.MAX_SOURCES:
                    self.sources[minute_of_key] += 1
                    self.counters.add(counter)
                else:
                    counter = minute_of_key << SOURCE_BITS | SOURCE_MASK  # of all further sources
            rows.add(counter << 2 | request.outcome)
        self.rows |= rows
        return 1, len(rows), len(new), bool(refused), failed, len(refused)

    def _advance_streaks(self, batch: Sequence[Request]) -> int:
        """Return how many keys failed. Unknown keys move the streaks of a decoy: equal work."""
        failed = set()
        for request in batch:
            networks = (ALL_NETWORKS, request.counter & SOURCE_MASK)
            if request.outcome == ACCEPTED:
                if request.key in self.streaks:
                    for network in networks:
                        self.streaks[request.key].pop(network, None)
                continue
            failed.add(request.key)
            streaks = self.streaks[request.key]
            for network in networks:
                streaks[network] = streaks.get(network, 0) + 1
            length = max(streaks[network] for network in networks)
            if request.outcome == WRONG and length >= self.incidents.get(request.key, THRESHOLD):
                self.messages += 1
                self.incidents[request.key] = next_notify_at(length, THRESHOLD)
        return len(failed)


@dataclass
class Result:
    """What came of a load."""

    load: Load
    requests: int = 0
    commits: int = 0
    exclusive: int = 0  # commits that ran alone
    exclusive_seconds: float = 0.0
    waited: float = 0.0  # seconds, for other commits
    end: float = 0.0  # of the last commit
    rows: int = 0  # upserted
    cost: Cost = field(default_factory=Cost)
    latencies: list[float] = field(default_factory=list)  # of refusals, seconds until the end of their commit
    tables: Tables = field(default_factory=Tables)

    @property
    def seconds(self) -> float:
        return max(self.load.seconds, self.end)

    @property
    def exclusive_share(self) -> float:
        """The share of time in which some commit ran alone."""
        return self.exclusive_seconds / self.seconds

    @property
    def falls_behind(self) -> bool:
        return self.end > self.load.seconds + 1.0

    def latency(self, share: float) -> str:
        """Return a percentile of the latency of refusals; without limit when commits fall behind."""
        return "falls behind" if self.falls_behind else f"{percentile(self.latencies, share) * 1e3:,.0f} ms"


class RecorderQueue:
    """One process's queue: its requests, and how many of them are in batches."""

    def __init__(self, batch_delay: float) -> None:
        self._batch_delay = batch_delay
        self.requests: list[Request] = []
        self.position = 0

    def next_batch_at(self, now: float) -> float | None:
        """Return when the next batch begins, by the rule of `BatchQueue`; None when no request is left."""
        if self.position >= len(self.requests):
            return None
        first = self.requests[self.position].at
        if first <= now:
            return now
        end = first + self._batch_delay
        delayed = self.requests[self.position : bisect_right(self.requests, (end, math.inf))]
        return next((request.at for request in delayed if request.outcome != ACCEPTED), end)

    def take_batch(self, now: float) -> list[Request]:
        end = min(bisect_right(self.requests, (now, math.inf)), self.position + recorder.MAX_BATCH)
        batch = self.requests[self.position : end]
        self.position = end
        return batch


class Locks:
    """Exclusive commits wait for all before them, others for the exclusive ones and for those of the same keys."""

    def __init__(self) -> None:
        self.exclusive_until = self.any_until = 0.0
        self.keys: dict[int, float] = {}

    def hold(self, now: float, keys: set[int], seconds: float, *, exclusive: bool) -> float:
        """Return when it ends. First come, first served."""
        if exclusive:
            end = self.exclusive_until = max(now, self.any_until) + seconds
        else:
            end = max(now, self.exclusive_until, *(self.keys.get(key, 0.0) for key in keys)) + seconds
            self.keys.update(dict.fromkeys(keys, end))
        self.any_until = max(self.any_until, end)
        return end


def simulate(load: Load, requests: Iterable[Request], costs: CommitCosts) -> Result:
    """Record all requests."""
    rng = random.Random(load.seed)
    recorders = [RecorderQueue(load.batch_delay) for _ in range(load.processes)]
    for request in requests:
        recorders[int(rng.random() * load.processes)].requests.append(request)
    result, locks = Result(load), Locks()
    turns = [(at, number) for number, each in enumerate(recorders) if (at := each.next_batch_at(-1.0)) is not None]
    heapq.heapify(turns)
    while turns:
        now, number = heapq.heappop(turns)
        batch = recorders[number].take_batch(now)
        end = _commit(result, locks, batch, now, costs=costs, jitter=rng.lognormvariate(0, _JITTER))
        following = recorders[number].next_batch_at(end)
        if following is not None:
            heapq.heappush(turns, (following, number))
    return result


def _commit(
    result: Result, locks: Locks, batch: list[Request], now: float, *, costs: CommitCosts, jitter: float
) -> float:
    """Add a commit to the result and return when it ends."""
    amounts = result.tables.write(batch)
    cost = costs.of(amounts)
    keys = {request.key for request in batch if request.outcome != UNKNOWN}
    exclusive = len(keys) > costs.max_shared_keys
    seconds = cost.wall / 1e3 * jitter
    end = locks.hold(now, keys, seconds, exclusive=exclusive)
    result.requests += len(batch)
    result.commits += 1
    result.exclusive += exclusive
    result.exclusive_seconds += seconds if exclusive else 0.0
    result.waited += end - seconds - now
    result.end = max(result.end, end)
    result.rows += amounts[1]
    result.cost = Cost(*map(sum, zip(result.cost, cost, strict=True)))
    result.latencies += [end - request.at + costs.load / 1e3 for request in batch if request.outcome != ACCEPTED]
    return end
