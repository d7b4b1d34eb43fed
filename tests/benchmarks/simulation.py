"""`python -m benchmarks.simulation [--requests n] [--customers n] [--cases n] [--write docs/scaling.md]`: play a load.

Keys come by popularity (Zipf), with mistakes and attacks among them. App processes take batches by the recorder's own
rule (`drain`: at once when somebody waits or something is queued, else after `linger`), and wait for each other as
PostgreSQL or SQLite makes them. Rules and limits are read from the code; only what things cost is written here: it was
measured, and `--figures` puts a run of `make bench` in its place where that has the figure.

Here: the model and its tables. Not here: what the tables mean (`docs/scaling.md`).
"""

import argparse
import heapq
import json
import math
import random
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from load.report import percentile

from benchmarks.apps.contenders import recording
from benchmarks.document import markdown
from benchmarks.presentation import Table
from octy_middleware import Settings, ledger, recorder
from octy_middleware.streak import POLICY, next_notice
from octy_worker.retention.pace import MOST, Pace
from octy_workflows.messages import DAY, HOUR, IncidentTimes

BEGIN, END = "<!-- simulation: begin -->", "<!-- simulation: end -->"
_DEFAULTS = {name: given.default for name, given in Settings.model_fields.items()}
LINGER, THRESHOLD = _DEFAULTS["linger"], _DEFAULTS["threshold"]
MOST_SOURCES, MOST_ATTEMPTS = _DEFAULTS["sources_per_minute"], _DEFAULTS["attempts_per_minute"]
KEEP_MINUTES, KEEP_DAYS, KEEP_ATTEMPTS = 35, 400, 90  # days; the worker's defaults

ACCEPTED, WRONG, UNKNOWN = range(3)
SKEW = 1.0  # of the popularity: the n-th customer makes 1/n of the first one's requests
A_SOURCE = 30.0  # requests a minute that a customer sends from one address
SHARES = {"mistakes": 0.002, "stuffing": 0.005, "hot key": 0.01, "unknown keys": 0.005}  # of all requests
STUFFED, STUFFERS, HOT_SOURCES, STRANGERS = 50, 500, 2000, 500  # keys, and addresses that are not the customers'
_ATTACKERS = 1000  # from here on, numbers of sources are attackers'
MEAN_OF_PEAK = 0.5  # the mean load of a day; requests are those of its peak


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
        """Rows that retention adds up in a second: 20 ms a step, pauses three times as long. An estimate."""
        pace = Pace()
        rows = (pace.bound * 1e3 - self.commit.wall) / (2 * self.row.wall)  # taken out, put in
        return min(rows, MOST) / (pace.bound * (1 + pace.rest))

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
        together=ledger._LOCKED,
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
TRIALS = {
    f"linger {LINGER:g} s": (LINGER, PRICES["postgresql"]),
    "linger 0.02 s": (0.02, PRICES["postgresql"]),
    "32 locks": (LINGER, replace(PRICES["postgresql"], together=32)),
    "512 locks": (LINGER, replace(PRICES["postgresql"], together=512)),
}
_JITTER = 0.3  # of a commit's time, lognormal: its 90th percentile was 1.4 times the median
BYTES_A_KEY, REQUEST_MICROS = 300.0, 2.5  # goals of PERFORMANCE; `make bench` has the figures
A_RELAY = 373.0  # messages a second, eight at a time at 10 ms a call, PostgreSQL (docs/decisions.md)
WAITING_BYTES, SILENT_BYTES, SILENT_EVENTS = 2161, 6830, 66  # of a history, without what the server adds to it


@dataclass(frozen=True)
class Load:
    """What comes, and where to."""

    requests: float = 10_000.0  # a second
    customers: int = 1_000_000
    processes: int = 16
    seconds: float = 60.0  # whole minutes where rows a minute are asked for
    seed: int = 1
    linger: float = LINGER  # seconds that accepted outcomes wait for company


class Entry(NamedTuple):
    """One request that has been decided. `place` is minute, key and source in one number."""

    at: float
    key: int
    place: int
    kind: int


class Crowd(NamedTuple):
    """Customers of about one popularity: how many, the share of all requests that each has, sources of each."""

    number: int
    share: float
    sources: float


def crowds(load: Load) -> list[Crowd]:
    """Return all customers, the busiest one by one, the others gathered by two per cent."""
    total = sum(1 / rank**SKEW for rank in range(1, load.customers + 1))
    found, rank = [], 1
    while rank <= load.customers:
        number = min(max(1, rank // 50), load.customers + 1 - rank)
        share = 1 / (rank + (number - 1) / 2) ** SKEW / total
        found.append(Crowd(number, share, sources_of(share, load)))
        rank += number
    return found


def sources_of(share: float, load: Load) -> int:
    return min(MOST_SOURCES, 1 + int(share * load.requests * 60 / A_SOURCE))


def distinct(people: Iterable[Crowd], requests: float) -> float:
    """Return how many (key, source) so many requests are of, on average."""
    return sum(c.number * c.sources * -math.expm1(-requests * c.share / c.sources) for c in people)


def missed(people: Sequence[Crowd], size: int) -> float:
    """Return the share of requests whose key is not among the `size` that came in last (FIFO)."""
    if size >= sum(c.number for c in people):
        return 0.0
    low, high = 0.0, 1e15
    for _ in range(100):
        stay = (low + high) / 2
        low, high = (stay, high) if sum(c.number * _there(c.share * stay) for c in people) < size else (low, stay)
    return sum(c.number * c.share * (1 - _there(c.share * low)) for c in people)


def _there(visits: float) -> float:
    return visits / (1 + visits)


def draw(load: Load) -> Iterator[Entry]:
    """Draw what comes, in order."""
    chance = random.Random(load.seed)
    weights = list(accumulate(1 / rank**SKEW for rank in range(1, load.customers + 1)))
    number = int(load.requests * load.seconds)
    keys = chance.choices(range(load.customers), cum_weights=weights, k=number)
    kinds = chance.choices([*SHARES, ""], weights=[*SHARES.values(), 1 - sum(SHARES.values())], k=number)
    sources = [sources_of((1 / (key + 1) ** SKEW) / weights[-1], load) for key in range(min(load.customers, 100_000))]
    for index, (key, kind) in enumerate(zip(keys, kinds, strict=True)):
        own = int(chance.random() * sources[key]) if key < len(sources) else 0
        key, source, outcome = _sent(kind, key, own, chance, load)  # noqa: PLW2901
        at = index / load.requests
        yield Entry(at, key, ((int(at) // 60 * (load.customers + 1) + key) << 13) | source, outcome)


def _sent(kind: str, key: int, own: int, chance: random.Random, load: Load) -> tuple[int, int, int]:
    """Return key, source and outcome. Attacked are the busiest customer, and some of the others at regular steps."""
    if kind == "stuffing":
        step = max(1, load.customers // STUFFED)
        return chance.randrange(STUFFED) * step % load.customers, _ATTACKERS + chance.randrange(STUFFERS), WRONG
    if kind == "hot key":
        return 0, _ATTACKERS + chance.randrange(HOT_SOURCES), WRONG
    if kind == "unknown keys":
        return load.customers, _ATTACKERS + chance.randrange(STRANGERS), UNKNOWN
    return key, own, WRONG if kind else ACCEPTED


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
                if self.sources[minute_of_key] < MOST_SOURCES:
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
                    for network in (POLICY, source):
                        self.streaks[entry.key].pop(network, None)
                continue
            failed.add(entry.key)
            mine = self.streaks[entry.key]
            for network in (POLICY, source):
                mine[network] = mine.get(network, 0) + 1
            if entry.kind == WRONG:
                self._tell(entry.key, max(mine[POLICY], mine[source]))
        return len(failed)

    def _tell(self, key: int, length: int) -> None:
        if length >= self.told.get(key, THRESHOLD):
            self.messages += 1
            self.told[key] = next_notice(length, THRESHOLD)


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

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self.entries: list[Entry] = []
        self.position = 0

    def ready(self, now: float) -> float | None:
        """Return when it takes its next batch; None when nothing comes any more. This is `Drain`'s rule."""
        if self.position >= len(self.entries):
            return None
        first = self.entries[self.position].at
        if first <= now:
            return now
        coming = self.entries[self.position : bisect_right(self.entries, (first + self._linger, math.inf))]
        return next((entry.at for entry in coming if entry.kind != ACCEPTED), first + self._linger)

    def take(self, now: float) -> list[Entry]:
        end = min(bisect_right(self.entries, (now, math.inf)), self.position + recorder._BATCH)
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


def play(load: Load, traffic: Iterable[Entry], prices: Prices) -> Played:
    """Play the load to the end."""
    chance = random.Random(load.seed)
    processes = [_Process(load.linger) for _ in range(load.processes)]
    for entry in traffic:
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


@dataclass
class Cases:
    """What open cases ask of Temporal, from the first day to the last, by minute."""

    starts: Counter[int] = field(default_factory=Counter)
    timers: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    silent: int = 0


def cases(number: int, within: float, seed: int) -> Cases:
    """Open so many cases within a time. Half of them is answered, after half a day on average; then no timer fires."""
    chance, found, times = random.Random(seed), Cases(), IncidentTimes()
    steps = (*times.remind_after, times.staff_after, times.close_after)
    for _ in range(number):
        opened = chance.random() * within
        answered = chance.expovariate(2 / DAY) if chance.random() < 0.5 else math.inf
        found.starts[int(opened // 60)] += 1
        for step in steps:
            if step < answered:
                found.timers[int((opened + step) // 60)] += 1
        if answered < times.close_after:
            found.answers[int((opened + answered) // 60)] += 1
        else:
            found.silent += 1
    return found


def most(by_minute: Counter[int]) -> float:
    """Return the highest rate a second of any minute."""
    return max(by_minute.values(), default=0) / 60


@dataclass(frozen=True)
class Figures:
    """What a run of `make bench` says in the place of the constants; `known` tells what it was."""

    bytes_a_key: float = BYTES_A_KEY
    request_micros: float = REQUEST_MICROS
    known: str = "no figures of `make bench`: goals in their place"

    @classmethod
    def read(cls, report: dict[str, Any]) -> "Figures":
        """Take what is there; an old or partial report may lack anything."""
        benches = report.get("benches", {})
        memory = benches.get("keys", {}).get("memory", {})
        arms = benches.get("in_process", {}).get("arms", {})
        found: dict[str, Any] = {}
        if memory:
            found["bytes_a_key"] = memory[max(memory, key=int)]["bytes_a_key"]
        if recording("postgresql") in arms:
            found["request_micros"] = arms[recording("postgresql")]["added_cpu_us"]["median"]
        if found:
            found["known"] = (
                f"`make bench` of {report.get('date', 'some day')} for {', '.join(found).replace('_', ' ')}"
            )
        return cls(**found)


def main_table(played: Played, prices: Prices, figures: Figures) -> Table:
    """Return what one load does, second by second and day by day."""
    load, people, books = played.load, crowds(played.load), played.books
    minutes = load.seconds / 60
    counters, size = len(books.rows) / minutes, _DEFAULTS["cache_size"]
    daily = 1440 * MEAN_OF_PEAK
    by_day = distinct(people, load.requests * 86_400 * MEAN_OF_PEAK)
    bytes_ = prices.bytes
    at_rest = (
        counters * daily * KEEP_MINUTES * bytes_["outcome_minute"]
        + by_day * (KEEP_DAYS - KEEP_MINUTES) * bytes_["outcome_minute"]
        + books.attempt_rows / minutes * daily * KEEP_ATTEMPTS * bytes_["attempt"]
    )
    grown = counters * bytes_["outcome_minute"] + books.attempt_rows / minutes * bytes_["attempt"]
    app = played.spent.app / 1e3 / load.seconds + figures.request_micros * load.requests / 1e6
    remembered = min(size, load.customers)
    return Table(
        f"{load.requests:,.0f} requests/s of {load.customers:,} customers, {load.processes} processes, PostgreSQL",
        ("", "figure"),
        [
            ("commits a second, each process / in all", _pair(played.commits / played.seconds, load.processes)),
            ("entries a commit", f"{played.entries / played.commits:,.1f}"),
            (f"commits of more than {ledger._LOCKED} keys, which run alone", f"{played.alone / played.commits:.0%}"),
            ("share of time in which one runs alone", f"{played.busy:.0%}"),
            ("a commit waits for others, mean", f"{played.waited / played.commits * 1e3:,.1f} ms"),
            ("a refusal waits, p50 / p99", f"{played.wait(0.5)} / {played.wait(0.99)}"),
            ("rows of outcome_minute upserted a second", f"{played.rows / played.seconds:,.0f}"),
            ("new rows of outcome_minute a minute", f"{counters:,.0f}"),
            ("new rows of attempt a minute", f"{books.attempt_rows / minutes:,.0f}"),
            ("CPU of the app processes for it, cores", f"{app:.2f}"),
            ("CPU of PostgreSQL, cores", f"{played.spent.server / 1e3 / load.seconds:.2f}"),
            ("write-ahead log, MB/s", f"{played.spent.log / load.seconds / 1e6:.1f}"),
            (f"disk a day, at {MEAN_OF_PEAK:.0%} of the peak on average, GB", f"{grown * daily / 1e9:,.0f}"),
            ("rows that retention adds up a day", f"{counters * daily:,.0f}"),
            ("hours of a day that this takes it, estimated", f"{counters * daily / prices.retention / HOUR:.1f}"),
            (f"disk at rest ({KEEP_MINUTES} d of minutes, {KEEP_DAYS} d of days), GB", f"{at_rest / 1e9:,.0f}"),
            ("keys not in memory, of requests", f"{missed(people, size):.1%}"),
            ("memory for keys, each process, MB", f"{remembered * figures.bytes_a_key / 1e6:,.0f}"),
            ("cases opened / messages put down meanwhile", f"{len(books.told):,} / {books.messages:,}"),
        ],
        f"{minutes:g} min were played, linger {load.linger:g} s, seed {load.seed}; {figures.known}.",
    )


def _pair(total: float, number: int) -> str:
    return f"{total / number:,.1f} / {total:,.0f}"


def choices_table(load: Load, traffic: Sequence[Entry], counts: Sequence[int]) -> Table:
    """Return the same load on fewer and more processes, as the code is and as it could be."""
    rows = []
    for processes in counts:
        mine = replace(load, processes=processes)
        rows.append(
            (
                str(processes),
                *(_told(play(replace(mine, linger=linger), traffic, prices)) for linger, prices in TRIALS.values()),
            )
        )
    return Table(
        f"The same load on fewer and more processes ({load.seconds:g} s, from a minute's first second)",
        ("processes", *TRIALS),
        rows,
        "What a refusal waits, p50 / p99; entries a commit; cores of PostgreSQL. 32 and 512 locks: commits of up to so "
        f"many keys run beside others, in place of {ledger._LOCKED}.",
    )


def _told(found: Played) -> str:
    waits = "falls behind" if found.behind else f"{found.wait(0.5)} / {found.wait(0.99)}"
    return f"{waits}; {found.entries / found.commits:,.0f}; {found.spent.server / 1e3 / found.load.seconds:.1f}"


def sqlite_table(load: Load, rates: Sequence[float]) -> Table:
    """Return how far one machine with a file goes: four processes share the one writer."""
    rows = []
    for rate in rates:
        mine = replace(load, requests=rate, processes=4)
        found = play(mine, draw(mine), PRICES["sqlite"])
        pace = (f"{found.commits / found.seconds:,.0f}", f"{found.rows / found.seconds:,.0f}")
        rows.append((f"{rate:,.0f}", *pace, f"{found.busy:.0%}", found.wait(0.5), found.wait(0.99)))
    columns = ("requests/s", "commits/s", "rows/s", "write lock held", "refusal p50", "p99")
    return Table(f"SQLite on one machine, 4 processes ({load.seconds:g} s)", columns, rows)


def cases_table(number: int, seed: int) -> Table:
    """Return what so many cases do to Temporal: opened evenly over their life, or within an hour."""
    life = IncidentTimes().close_after
    rows = []
    for name, within in ((f"evenly over {life / DAY:.0f} days", life), ("within one hour", HOUR)):
        found = cases(number, within, seed)
        messages = most(found.starts) + most(found.answers)
        size = number * WAITING_BYTES + found.silent * (SILENT_BYTES - WAITING_BYTES)
        rates = (f"{most(some):,.1f}" for some in (found.starts, found.timers, found.answers))
        relays = f"{math.ceil(messages / A_RELAY)}"
        rows.append((name, *rates, f"{messages:,.1f}", relays, f"{number * SILENT_EVENTS:,}", f"{size / 1e6:,.0f}"))
    columns = ("opened", "starts/s", "timers/s", "answers/s", "messages/s", "relays", "events, all silent", "MB")
    note = (
        "Highest rate of any minute. Half of the cases is answered, after half a day on average. MB: histories, half "
        "of them to the end in silence; doublings and regenerations come on top."
    )
    return Table(f"{number:,} cases in Temporal", columns, rows, note)


def tables(load: Load, number_of_cases: int, figures: Figures) -> list[Table]:
    """Play everything."""
    traffic = list(draw(load))
    short = replace(load, seconds=5.0)
    beginning = traffic[: int(short.seconds * short.requests)]
    prices = PRICES["postgresql"]
    return [
        main_table(play(load, traffic, prices), prices, figures),
        choices_table(short, beginning, (8, 16, 32, 64)),
        sqlite_table(replace(short, customers=min(load.customers, 100_000)), (300, 1000, 3000, 10_000)),
        cases_table(number_of_cases, load.seed),
    ]


def written(page: str, some: Sequence[Table]) -> str:
    """Return the page with these tables between its marks. Raises ValueError when it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} and {END}")
    return "".join((before, BEGIN, "\n\n", "\n".join(f"#{markdown(table)}" for table in some), END, after))


def main(arguments: list[str] | None = None) -> int:
    """Play, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=float, default=Load.requests, help="a second, at the peak")
    parser.add_argument("--customers", type=int, default=Load.customers)
    parser.add_argument("--processes", type=int, default=Load.processes, help="of the host app, on all machines")
    parser.add_argument("--linger", type=float, default=LINGER, help="seconds, as OCTY_LINGER")
    parser.add_argument("--minutes", type=int, default=1, help="to be played")
    parser.add_argument("--cases", type=int, default=100_000, help="open at once")
    parser.add_argument("--seed", type=int, default=Load.seed)
    parser.add_argument("--figures", type=Path, default=Path("bench-report.json"), help="of `make bench`")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks of this page")
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60.0
    load = Load(options.requests, options.customers, options.processes, seconds, options.seed, options.linger)
    report = json.loads(options.figures.read_text(encoding="utf-8")) if options.figures.exists() else {}
    some = tables(load, options.cases, Figures.read(report))
    for table in some:
        sys.stdout.write(f"#{markdown(table)}\n")
    if options.write:
        options.write.write_text(written(options.write.read_text(encoding="utf-8"), some), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
