"""Simulate a load over days, and print its tables.

`python -m proofs.benchmarks.simulation [--requests n] [--customers n] [--incidents n] [--write docs/scaling.md]`.

What things cost was measured; `--figures` takes a report of `make bench` for those that it has.
"""

import argparse
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from octy_middleware.recording import outcome_writer
from octy_workflows.messages import DAY, HOUR, IncidentTimes
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.presentation import Table, markdown
from proofs.benchmarks.simulated_database import COSTS, CommitCosts, Result, simulate
from proofs.benchmarks.simulated_traffic import (
    BATCH_DELAY,
    DEFAULTS,
    Load,
    Request,
    cache_miss_share,
    customer_groups,
    distinct_sources,
    generate,
)

BEGIN, END = "<!-- simulation: begin -->", "<!-- simulation: end -->"
KEEP_MINUTES, KEEP_DAYS, KEEP_ATTEMPTS = 35, 400, 90  # days; the worker's defaults
MEAN_OF_PEAK = 0.5  # the mean load of a day; requests are those of its peak
BYTES_A_KEY, REQUEST_MICROS = 300.0, 2.5  # about the goals of `goals`; `make bench` has the figures
MESSAGES_A_RELAY = 373.0  # a second, eight at a time at 10 ms a call, PostgreSQL (docs/decisions.md)
WAITING_BYTES, UNANSWERED_BYTES, UNANSWERED_EVENTS = 2161, 6830, 66  # of a history, without what the server adds to it
TRIALS = {
    f"batch delay {BATCH_DELAY:g} s": (BATCH_DELAY, COSTS["postgresql"]),
    "batch delay 0.02 s": (0.02, COSTS["postgresql"]),
    "32 locks": (BATCH_DELAY, replace(COSTS["postgresql"], max_shared_keys=32)),
    "512 locks": (BATCH_DELAY, replace(COSTS["postgresql"], max_shared_keys=512)),
}


@dataclass
class Incidents:
    """What open incidents need of Temporal, by minute."""

    starts: Counter[int] = field(default_factory=Counter)
    timers: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0


def open_incidents(number: int, within: float, seed: int) -> Incidents:
    """Open so many incidents within a time. Half are answered, after half a day on average; then no timer fires."""
    rng, found, times = random.Random(seed), Incidents(), IncidentTimes()
    steps = (*times.remind_after, times.staff_after, times.close_after)
    for _ in range(number):
        opened = rng.random() * within
        answered = rng.expovariate(2 / DAY) if rng.random() < 0.5 else math.inf
        found.starts[int(opened // 60)] += 1
        found.timers.update(int((opened + step) // 60) for step in steps if step < answered)
        if answered < times.close_after:
            found.answers[int((opened + answered) // 60)] += 1
        else:
            found.unanswered += 1
    return found


def highest_rate(by_minute: Counter[int]) -> float:
    """Return the highest rate a second of any minute."""
    return max(by_minute.values(), default=0) / 60


@dataclass(frozen=True)
class Figures:
    """Figures of a report of `make bench`, or the constants; `source` says which."""

    bytes_a_key: float = BYTES_A_KEY
    request_micros: float = REQUEST_MICROS
    source: str = "no figures of `make bench`: goals in their place"

    @classmethod
    def read(cls, report: dict[str, Any]) -> "Figures":
        """Take what the report has; an old or partial one may lack anything."""
        benches = report.get("benches", {})
        memory = benches.get("keys", {}).get("memory", {})
        arms = benches.get("in_process", {}).get("arms", {})
        found: dict[str, Any] = {}
        if memory:
            found["bytes_a_key"] = memory[max(memory, key=int)]["bytes_a_key"]
        if recording("postgresql") in arms:
            found["request_micros"] = arms[recording("postgresql")]["added_cpu_us"]["median"]
        if found:
            found["source"] = (
                f"`make bench` of {report.get('date', 'some day')} for {', '.join(found).replace('_', ' ')}"
            )
        return cls(**found)


def main_table(result: Result, costs: CommitCosts, figures: Figures) -> Table:
    """Return what one load does, second by second and day by day."""
    load, groups, written = result.load, customer_groups(result.load), result.tables
    minutes = load.seconds / 60
    counters, attempts = len(written.rows) / minutes, written.attempt_rows / minutes
    cache_size, row_bytes = DEFAULTS["key_cache_size"], costs.row_bytes
    daily = 1440 * MEAN_OF_PEAK
    by_day = distinct_sources(groups, load.requests * 86_400 * MEAN_OF_PEAK)
    at_rest = (
        counters * daily * KEEP_MINUTES * row_bytes["outcome_minute"]
        + by_day * (KEEP_DAYS - KEEP_MINUTES) * row_bytes["outcome_minute"]
        + attempts * daily * KEEP_ATTEMPTS * row_bytes["attempt"]
    )
    grown = counters * row_bytes["outcome_minute"] + attempts * row_bytes["attempt"]
    app = result.cost.app / 1e3 / load.seconds + figures.request_micros * load.requests / 1e6
    return Table(
        f"{load.requests:,.0f} requests/s of {load.customers:,} customers, {load.processes} processes, PostgreSQL",
        ("", "figure"),
        [
            (
                "commits a second, each process / in all",
                f"{result.commits / result.seconds / load.processes:,.1f} / {result.commits / result.seconds:,.0f}",
            ),
            ("events a commit", f"{result.requests / result.commits:,.1f}"),
            (
                f"commits of more than {outcome_writer.MAX_LOCKED_KEYS} keys, which run alone",
                f"{result.exclusive / result.commits:.0%}",
            ),
            ("share of time in which one runs alone", f"{result.exclusive_share:.0%}"),
            ("a commit waits for others, mean", f"{result.waited / result.commits * 1e3:,.1f} ms"),
            ("a refused request waits, p50 / p99", f"{result.latency(0.5)} / {result.latency(0.99)}"),
            ("rows of outcome_minute upserted a second", f"{result.rows / result.seconds:,.0f}"),
            ("new rows of outcome_minute a minute", f"{counters:,.0f}"),
            ("new rows of attempt a minute", f"{attempts:,.0f}"),
            ("CPU of the app processes for it, cores", f"{app:.2f}"),
            ("CPU of PostgreSQL, cores", f"{result.cost.server / 1e3 / load.seconds:.2f}"),
            ("write-ahead log, MB/s", f"{result.cost.log / load.seconds / 1e6:.1f}"),
            (f"disk a day, at {MEAN_OF_PEAK:.0%} of the peak on average, GB", f"{grown * daily / 1e9:,.0f}"),
            ("rows that retention sums up a day", f"{counters * daily:,.0f}"),
            (
                "hours of a day that this takes, estimated",
                f"{counters * daily / costs.compacted_rows_a_second / HOUR:.1f}",
            ),
            (f"disk at rest ({KEEP_MINUTES} d of minutes, {KEEP_DAYS} d of days), GB", f"{at_rest / 1e9:,.0f}"),
            ("keys not in memory, of requests", f"{cache_miss_share(groups, cache_size):.1%}"),
            (
                "memory for keys, each process, MB",
                f"{min(cache_size, load.customers) * figures.bytes_a_key / 1e6:,.0f}",
            ),
            (
                "incidents opened / outbox messages written meanwhile",
                f"{len(written.incidents):,} / {written.messages:,}",
            ),
        ],
        f"{minutes:g} min simulated, batch delay {load.batch_delay:g} s, seed {load.seed}; {figures.source}.",
    )


def choices_table(load: Load, requests: Sequence[Request], counts: Sequence[int]) -> Table:
    """Return the same load on fewer and more processes, with the product's limits and with others."""
    rows = []
    for processes in counts:
        loads = ((replace(load, processes=processes, batch_delay=delay), costs) for delay, costs in TRIALS.values())
        rows.append((str(processes), *(_summary(simulate(trial, requests, costs)) for trial, costs in loads)))
    return Table(
        f"The same load on fewer and more processes ({load.seconds:g} s, from a minute's first second)",
        ("processes", *TRIALS),
        rows,
        "How long a refused request waits, p50 / p99; events a commit; cores of PostgreSQL. 32 and 512 locks: commits "
        f"of up to so many keys run beside others, in place of {outcome_writer.MAX_LOCKED_KEYS}.",
    )


def _summary(found: Result) -> str:
    latency = "falls behind" if found.falls_behind else f"{found.latency(0.5)} / {found.latency(0.99)}"
    return f"{latency}; {found.requests / found.commits:,.0f}; {found.cost.server / 1e3 / found.load.seconds:.1f}"


def sqlite_table(load: Load, rates: Sequence[float]) -> Table:
    """Return how far one machine with a file goes: four processes share the one writer."""
    rows = []
    for rate in rates:
        mine = replace(load, requests=rate, processes=4)
        found = simulate(mine, generate(mine), COSTS["sqlite"])
        rates = (f"{found.commits / found.seconds:,.0f}", f"{found.rows / found.seconds:,.0f}")
        rows.append((f"{rate:,.0f}", *rates, f"{found.exclusive_share:.0%}", found.latency(0.5), found.latency(0.99)))
    columns = ("requests/s", "commits/s", "rows/s", "write lock held", "refusal p50", "p99")
    return Table(f"SQLite on one machine, 4 processes ({load.seconds:g} s)", columns, rows)


def incidents_table(number: int, seed: int) -> Table:
    """Return what so many incidents do to Temporal: opened evenly over their life, or within an hour."""
    life = IncidentTimes().close_after
    rows = []
    for name, within in ((f"evenly over {life / DAY:.0f} days", life), ("within one hour", HOUR)):
        found = open_incidents(number, within, seed)
        messages = highest_rate(found.starts) + highest_rate(found.answers)
        size = number * WAITING_BYTES + found.unanswered * (UNANSWERED_BYTES - WAITING_BYTES)
        rates = (f"{highest_rate(some):,.1f}" for some in (found.starts, found.timers, found.answers))
        relays = f"{math.ceil(messages / MESSAGES_A_RELAY)}"
        rows.append((name, *rates, f"{messages:,.1f}", relays, f"{number * UNANSWERED_EVENTS:,}", f"{size / 1e6:,.0f}"))
    columns = ("opened", "starts/s", "timers/s", "answers/s", "messages/s", "relays", "events, none answered", "MB")
    note = (
        "Highest rate of any minute. Half of the incidents are answered, after half a day on average. MB: histories, "
        "half of them until they end without an answer; doublings and regenerations are not included."
    )
    return Table(f"{number:,} incidents in Temporal", columns, rows, note)


def tables(load: Load, incidents: int, figures: Figures) -> list[Table]:
    requests = list(generate(load))
    short = replace(load, seconds=5.0)
    beginning = requests[: int(short.seconds * short.requests)]
    costs = COSTS["postgresql"]
    return [
        main_table(simulate(load, requests, costs), costs, figures),
        choices_table(short, beginning, (8, 16, 32, 64)),
        sqlite_table(replace(short, customers=min(load.customers, 100_000)), (300, 1000, 3000, 10_000)),
        incidents_table(incidents, load.seed),
    ]


def insert_tables(page: str, some: Sequence[Table]) -> str:
    """Return the page with these tables between its marks. Raises ValueError when it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} and {END}")
    return "".join((before, BEGIN, "\n\n", "\n".join(f"#{markdown(table)}" for table in some), END, after))


def main(arguments: list[str] | None = None) -> int:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(
        prog="proofs.benchmarks.simulation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--requests", type=float, default=Load.requests, help="a second, at the peak")
    parser.add_argument("--customers", type=int, default=Load.customers)
    parser.add_argument("--processes", type=int, default=Load.processes, help="of the host app, on all machines")
    parser.add_argument("--batch-delay", type=float, default=BATCH_DELAY, help="seconds, as OCTY_BATCH_DELAY")
    parser.add_argument("--minutes", type=int, default=1, help="to be simulated")
    parser.add_argument("--incidents", type=int, default=100_000, help="open at once")
    parser.add_argument("--seed", type=int, default=Load.seed)
    parser.add_argument("--figures", type=Path, default=Path("bench-report.json"), help="of `make bench`")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks of this page")
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60.0
    load = Load(options.requests, options.customers, options.processes, seconds, options.seed, options.batch_delay)
    report = json.loads(options.figures.read_text(encoding="utf-8")) if options.figures.exists() else {}
    some = tables(load, options.incidents, Figures.read(report))
    for table in some:
        sys.stdout.write(f"#{markdown(table)}\n")
    if options.write:
        options.write.write_text(insert_tables(options.write.read_text(encoding="utf-8"), some), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
