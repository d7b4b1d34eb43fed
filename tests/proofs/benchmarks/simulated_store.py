"""What recording costs, for the simulation: app processes that take batches, and wait for each other at the store.

Processes take batches by the recorder's own rule (`batch_queue`: at once when a client waits or events are queued, else
after `batch_delay`), and wait for each other as PostgreSQL or SQLite makes them. Rules and limits are read from code.
Here: that, and what things cost, as it was measured. Not here: what comes (`simulated_traffic`).
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
from proofs.benchmarks.simulated_traffic import ACCEPTED, DEFAULTS, UNKNOWN, WRONG, Entry, Load
from proofs.load.report import percentile

THRESHOLD, MOST_ATTEMPTS = DEFAULTS["threshold"], DEFAULTS["attempts_per_minute"]
_JITTER = 0.3  # of a commit's time, lognormal: its 90th percentile was 1.4 times the median


class Cost(NamedTuple):
    """Milliseconds that a commit lasts longer by, and of CPU on both sides; bytes of write-ahead log."""

    wall: float = 0.0
    app: float = 0.0
    server: float = 0.0
    log: float = 0.0


@dataclass(frozen=True)
class Prices:
    """What a commit costs: fits to the real `Ledger` with 1 to 1,000 entries a batch, other work on the same 2 cores.

    `row`: one of outcome_minute. `place`: the first row of a key and minute, beside it. `refusing`: once, if anything
    in the batch is refused. `key`: one that failed, with its streaks. `refused`: one refusal.
    """

    commit: Cost
    row: Cost
    place: Cost
    refusing: Cost
    key: Cost
    refused: Cost
    together: int  # most keys of a commit that runs beside others
    look_up: float  # milliseconds before a refusal comes to the recorder
    bytes: dict[str, float] = field(default_factory=dict)  # a row with its indexes, as rows came in

    @property
    def retention(self) -> float:
        """Rows that retention compacts in a second, in steps of a fixed size with a fixed pause. An estimate."""
        step = (self.commit.wall + STEP_ROWS * 2 * self.row.wall) / 1e3  # deleted, inserted
        return STEP_ROWS / (step + STEP_PAUSE)

    def of(self, amounts: Sequence[int]) -> Cost:
        each = (self.commit, self.row, self.place, self.refusing, self.key, self.refused)
        return Cost(*(sum(n * cost[i] for n, cost in zip(amounts, each, strict=True)) for i in range(4)))


PRICES = {
    # PostgreSQL 18.6, fsync on, one recorder on loopback: 300 first rows 47 ms, 300 rows that are there 12 ms.
    "postgresql": Prices(
        commit=Cost(2.0, 0.9, 0.7, 200),
        row=Cost(0.04, 0.03, 0.02, 330),
        place=Cost(log=160),
        refusing=Cost(2.0, 0.8, 0.9, 300),
        key=Cost(0.07, 0.035, 0.02, 650),
        refused=Cost(0.02, 0.02, 0.01, 300),
        together=outcome_writer._MAX_LOCKED_KEYS,
        look_up=1.0,
        bytes={"outcome_minute": 222, "attempt": 342, "streak": 252},
    ),
    # SQLite, synchronous=FULL: 300 first rows 22 ms, 300 rows that are there 8.5 ms; all of it is the app's CPU.
    "sqlite": Prices(
        commit=Cost(0.35, 0.3),
        row=Cost(0.027, 0.027),
        place=Cost(0.033, 0.033),
        refusing=Cost(0.1, 0.1),
        key=Cost(0.03, 0.03),
        refused=Cost(0.012, 0.012),
        together=-1,
        look_up=0.1,
        bytes={"outcome_minute": 75, "attempt": 250, "streak": 79},
    ),
}


@dataclass
class Books:
    """What the tables hold, as far as it decides what a batch costs."""

    rows: set[int] = field(default_factory=set)  # of outcome_minute
    places: set[int] = field(default_factory=set)  # with a row of their own
    sources: Counter[int] = field(default_factory=Counter)  # by minute and key
    attempts: Counter[tuple[int, int]] = field(default_factory=Counter)
    streaks: defaultdict[int, dict[Any, int]] = field(default_factory=lambda: defaultdict(dict))
    told: dict[int, int] = field(default_factory=dict)  # open cases, and at which length the workflow hears again
    messages: int = 0
    attempt_rows: int = 0

    def write(self, batch: Sequence[Entry]) -> tuple[int, int, int, int, int, int]:
        """Write a batch; return the amounts of `Prices`."""
        refused = [entry for entry in batch if entry.kind != ACCEPTED]
        failed = self._advance(batch) if refused or self.streaks else 0
        for entry in refused:
            detail = (entry.place >> 13, entry.kind)
            self.attempts[detail] += 1
            self.attempt_rows += self.attempts[detail] <= MOST_ATTEMPTS
        rows, newcomers = set(), set()
        for entry in batch:
            place = entry.place
            if place not in self.places:
                minute_of_key = place >> 13
                newcomers.add(minute_of_key)
                if self.sources[minute_of_key] < traffic.MOST_SOURCES:
                    self.sources[minute_of_key] += 1
                    self.places.add(place)
                else:
                    place = minute_of_key << 13 | 8191  # of all further sources
            rows.add(place << 2 | entry.kind)
        self.rows |= rows
        return 1, len(rows), len(newcomers), bool(refused), failed, len(refused)

    def _advance(self, batch: Sequence[Entry]) -> int:
        """Move the streaks, open cases; return how many keys failed. Strangers move a decoy's: as much work."""
        failed = set()
        for entry in batch:
            source = entry.place & 8191
            if entry.kind == ACCEPTED:
                if entry.key in self.streaks:
                    for network in (ALL_NETWORKS, source):
                        self.streaks[entry.key].pop(network, None)
                continue
            failed.add(entry.key)
            mine = self.streaks[entry.key]
            for network in (ALL_NETWORKS, source):
                mine[network] = mine.get(network, 0) + 1
            if entry.kind == WRONG:
                self._tell(entry.key, max(mine[ALL_NETWORKS], mine[source]))
        return len(failed)

    def _tell(self, key: int, length: int) -> None:
        if length >= self.told.get(key, THRESHOLD):
            self.messages += 1
            self.told[key] = next_notify_at(length, THRESHOLD)


@dataclass
class Played:
    """What came of a load."""

    load: Load
    entries: int = 0
    commits: int = 0
    alone: int = 0  # commits that ran alone
    alone_seconds: float = 0.0
    waited: float = 0.0  # seconds, for other commits
    end: float = 0.0  # of the last commit
    rows: int = 0  # upserted
    spent: Cost = field(default_factory=Cost)
    waits: list[float] = field(default_factory=list)  # of refusals, seconds from the request to the end of its commit
    books: Books = field(default_factory=Books)
    chance: random.Random = field(default_factory=random.Random)

    @property
    def seconds(self) -> float:
        return max(self.load.seconds, self.end)

    @property
    def busy(self) -> float:
        """The share of time in which some commit ran alone."""
        return self.alone_seconds / self.seconds

    @property
    def behind(self) -> bool:
        return self.end > self.load.seconds + 1.0

    def wait(self, share: float) -> str:
        """Return a percentile of what refusals waited for, in milliseconds; without end when commits fall behind."""
        return "falls behind" if self.behind else f"{percentile(self.waits, share) * 1e3:,.0f} ms"


class _Process:
    """One recorder's queue: what comes to it, and how far it has got."""

    def __init__(self, batch_delay: float) -> None:
        self._batch_delay = batch_delay
        self.entries: list[Entry] = []
        self.position = 0

    def ready(self, now: float) -> float | None:
        """Return when it takes its next batch; None when nothing comes any more. This is `Drain`'s rule."""
        if self.position >= len(self.entries):
            return None
        first = self.entries[self.position].at
        if first <= now:
            return now
        coming = self.entries[self.position : bisect_right(self.entries, (first + self._batch_delay, math.inf))]
        return next((entry.at for entry in coming if entry.kind != ACCEPTED), first + self._batch_delay)

    def take(self, now: float) -> list[Entry]:
        end = min(bisect_right(self.entries, (now, math.inf)), self.position + recorder._MAX_BATCH)
        batch = self.entries[self.position : end]
        self.position = end
        return batch


class _Locks:
    """Who waits for whom: commits alone wait for all before them, others for those alone and for their keys."""

    def __init__(self) -> None:
        self.alone_until = self.any_until = 0.0
        self.keys: dict[int, float] = {}

    def hold(self, now: float, keys: set[int], seconds: float, *, alone: bool) -> float:
        """Return when it ends. Whoever asks first gets it first."""
        if alone:
            end = max(now, self.any_until) + seconds
            self.alone_until = end
        else:
            end = max(now, self.alone_until, *(self.keys.get(key, 0.0) for key in keys)) + seconds
            self.keys.update(dict.fromkeys(keys, end))
        self.any_until = max(self.any_until, end)
        return end


def play(load: Load, coming: Iterable[Entry], prices: Prices) -> Played:
    """Play the load to the end."""
    chance = random.Random(load.seed)
    processes = [_Process(load.batch_delay) for _ in range(load.processes)]
    for entry in coming:
        processes[int(chance.random() * load.processes)].entries.append(entry)
    found, locks = Played(load, chance=chance), _Locks()
    turns = [(at, number) for number, process in enumerate(processes) if (at := process.ready(-1.0)) is not None]
    heapq.heapify(turns)
    while turns:
        now, number = heapq.heappop(turns)
        end = _commit(found, locks, processes[number].take(now), now, prices)
        following = processes[number].ready(end)
        if following is not None:
            heapq.heappush(turns, (following, number))
    return found


def _commit(found: Played, locks: _Locks, batch: list[Entry], now: float, prices: Prices) -> float:
    amounts = found.books.write(batch)
    cost = prices.of(amounts)
    keys = {entry.key for entry in batch if entry.kind != UNKNOWN}
    alone = len(keys) > prices.together
    seconds = cost.wall / 1e3 * found.chance.lognormvariate(0, _JITTER)
    end = locks.hold(now, keys, seconds, alone=alone)
    found.entries += len(batch)
    found.commits += 1
    found.alone += alone
    found.alone_seconds += seconds if alone else 0.0
    found.waited += end - seconds - now
    found.end = max(found.end, end)
    found.rows += amounts[1]
    found.spent = Cost(*(a + b for a, b in zip(found.spent, cost, strict=True)))
    found.waits += [end - entry.at + prices.look_up / 1e3 for entry in batch if entry.kind != ACCEPTED]
    return end
