"""Simulate a load over days.

`python -m proofs.benchmarks.simulation [--requests n] [--customers n] [--cases n] [--write docs/scaling.md]`.

What things cost was measured, and `--figures` puts a run of `make bench` in its place where that has the figure.

Here: the choices that are played, cases in Temporal, and the tables. Not here: what comes (`simulated_traffic`), what
recording it costs (`simulated_store`), what the tables mean (`docs/scaling.md`).
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
from proofs.benchmarks.document import markdown
from proofs.benchmarks.presentation import Table
from proofs.benchmarks.simulated_store import PRICES, Played, Prices, play
from proofs.benchmarks.simulated_traffic import BATCH_DELAY, DEFAULTS, Entry, Load, crowds, distinct, draw, missed

BEGIN, END = "<!-- simulation: begin -->", "<!-- simulation: end -->"
KEEP_MINUTES, KEEP_DAYS, KEEP_ATTEMPTS = 35, 400, 90  # days; the worker's defaults
MEAN_OF_PEAK = 0.5  # the mean load of a day; requests are those of its peak
BYTES_A_KEY, REQUEST_MICROS = 300.0, 2.5  # goals of PERFORMANCE; `make bench` has the figures
A_RELAY = 373.0  # messages a second, eight at a time at 10 ms a call, PostgreSQL (docs/decisions.md)
WAITING_BYTES, SILENT_BYTES, SILENT_EVENTS = 2161, 6830, 66  # of a history, without what the server adds to it
TRIALS = {
    f"batch delay {BATCH_DELAY:g} s": (BATCH_DELAY, PRICES["postgresql"]),
    "batch delay 0.02 s": (0.02, PRICES["postgresql"]),
    "32 locks": (BATCH_DELAY, replace(PRICES["postgresql"], together=32)),
    "512 locks": (BATCH_DELAY, replace(PRICES["postgresql"], together=512)),
}


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
    counters, size = len(books.rows) / minutes, DEFAULTS["key_cache_size"]
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
            ("events a commit", f"{played.entries / played.commits:,.1f}"),
            (
                f"commits of more than {outcome_writer._MAX_LOCKED_KEYS} keys, which run alone",
                f"{played.alone / played.commits:.0%}",
            ),
            ("share of time in which one runs alone", f"{played.busy:.0%}"),
            ("a commit waits for others, mean", f"{played.waited / played.commits * 1e3:,.1f} ms"),
            ("a refused request waits, p50 / p99", f"{played.wait(0.5)} / {played.wait(0.99)}"),
            ("rows of outcome_minute upserted a second", f"{played.rows / played.seconds:,.0f}"),
            ("new rows of outcome_minute a minute", f"{counters:,.0f}"),
            ("new rows of attempt a minute", f"{books.attempt_rows / minutes:,.0f}"),
            ("CPU of the app processes for it, cores", f"{app:.2f}"),
            ("CPU of PostgreSQL, cores", f"{played.spent.server / 1e3 / load.seconds:.2f}"),
            ("write-ahead log, MB/s", f"{played.spent.log / load.seconds / 1e6:.1f}"),
            (f"disk a day, at {MEAN_OF_PEAK:.0%} of the peak on average, GB", f"{grown * daily / 1e9:,.0f}"),
            ("rows that retention sums up a day", f"{counters * daily:,.0f}"),
            ("hours of a day that this takes, estimated", f"{counters * daily / prices.retention / HOUR:.1f}"),
            (f"disk at rest ({KEEP_MINUTES} d of minutes, {KEEP_DAYS} d of days), GB", f"{at_rest / 1e9:,.0f}"),
            ("keys not in memory, of requests", f"{missed(people, size):.1%}"),
            ("memory for keys, each process, MB", f"{remembered * figures.bytes_a_key / 1e6:,.0f}"),
            ("incidents opened / outbox messages written meanwhile", f"{len(books.told):,} / {books.messages:,}"),
        ],
        f"{minutes:g} min simulated, batch delay {load.batch_delay:g} s, seed {load.seed}; {figures.known}.",
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
                *(
                    _told(play(replace(mine, batch_delay=batch_delay), traffic, prices))
                    for batch_delay, prices in TRIALS.values()
                ),
            )
        )
    return Table(
        f"The same load on fewer and more processes ({load.seconds:g} s, from a minute's first second)",
        ("processes", *TRIALS),
        rows,
        "How long a refused request waits, p50 / p99; events a commit; cores of PostgreSQL. 32 and 512 locks: commits "
        f"of up to so many keys run beside others, in place of {outcome_writer._MAX_LOCKED_KEYS}.",
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
    columns = ("opened", "starts/s", "timers/s", "answers/s", "messages/s", "relays", "events, none answered", "MB")
    note = (
        "Highest rate of any minute. Half of the incidents are answered, after half a day on average. MB: histories, "
        "half of them until they end without an answer; doublings and regenerations are not included."
    )
    return Table(f"{number:,} incidents in Temporal", columns, rows, note)


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
    parser = argparse.ArgumentParser(
        prog="proofs.benchmarks.simulation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--requests", type=float, default=Load.requests, help="a second, at the peak")
    parser.add_argument("--customers", type=int, default=Load.customers)
    parser.add_argument("--processes", type=int, default=Load.processes, help="of the host app, on all machines")
    parser.add_argument("--batch-delay", type=float, default=BATCH_DELAY, help="seconds, as OCTY_BATCH_DELAY")
    parser.add_argument("--minutes", type=int, default=1, help="to be played")
    parser.add_argument("--cases", type=int, default=100_000, help="open at once")
    parser.add_argument("--seed", type=int, default=Load.seed)
    parser.add_argument("--figures", type=Path, default=Path("bench-report.json"), help="of `make bench`")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks of this page")
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60.0
    load = Load(options.requests, options.customers, options.processes, seconds, options.seed, options.batch_delay)
    report = json.loads(options.figures.read_text(encoding="utf-8")) if options.figures.exists() else {}
    some = tables(load, options.cases, Figures.read(report))
    for table in some:
        sys.stdout.write(f"#{markdown(table)}\n")
    if options.write:
        options.write.write_text(written(options.write.read_text(encoding="utf-8"), some), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
