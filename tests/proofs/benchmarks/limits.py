"""Show what limits a goal: the same load on ours with parts left out.

`python -m proofs.benchmarks.limits [--only NAME,…] [--database NAME] [--rounds n] [--size SIZE] [--seed n]`

What stays slow without a part is not that part's cost: a goal that is missed even so can't be reached by making the
part faster. All arms of a table take turns in one run, in random order in each round, with a second copy of the base.
"""

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace

from proofs.benchmarks.apps.bare import CONTROL, PATH
from proofs.benchmarks.apps.contenders import BARE, BY_NAME, DJANGO, FASTAPI, FLASK, behind, recording
from proofs.benchmarks.apps.left_out import ACCEPTED_PARTS, LEFT_OUT, REFUSED_PARTS, again, left_out
from proofs.benchmarks.flood import figures_of as flood_figures
from proofs.benchmarks.generator import ClosedLoop, FixedRate, Generator, Stream
from proofs.benchmarks.lab import NAMES, Lab, names_among, open_lab, show
from proofs.benchmarks.machine import on_one_core, probing
from proofs.benchmarks.over_http import play_server
from proofs.benchmarks.presentation import Table, interval_table
from proofs.benchmarks.refusals import AGAIN, UNRECORDED
from proofs.benchmarks.refusals import figures_of as refusal_figures
from proofs.benchmarks.servers import GRANIAN, GTHREAD, UVICORN, running_servers
from proofs.benchmarks.sizes import SIZES
from proofs.benchmarks.wire import request

ACCEPTED = {
    "uvicorn": (UVICORN, BARE),
    "granian": (GRANIAN, BARE),
    "fastapi": (UVICORN, FASTAPI),
    "flask": (GTHREAD, FLASK),
    "django": (GTHREAD, DJANGO),
}
ALL = "all of it"
_MANY_KEYS, _ONE_CORE, _ALONE, _FLOOD = "many-keys", "one-core", "alone", "flood"
LOADS = {
    "closed-loop": "64 connections",
    _MANY_KEYS: "64 connections, a key each",
    _ONE_CORE: "64 connections, the server on one core",
    _ALONE: "one connection",
    _FLOOD: "at a fixed rate, beside accepted requests",
}
_PROBERS = 4  # connections of accepted requests beside a flood
_COLUMNS = (("a second", "per_second", 0), ("CPU µs", "cpu_us", 0), ("p50 ms", "p50_ms", 2))
_FLOOD_COLUMNS = [
    (f"{kind} {part} ms", f"{kind}_{part}_ms", 2) for kind in ("refused", "accepted") for part in ("p50", "p99")
]


def accepted(lab: Lab, name: str) -> Table:
    """Compare the throughput of accepted requests, and the CPU of each, with the app alone."""
    server, base = ACCEPTED[name]
    ours = recording("sqlite") if base == BARE else behind(base)
    arms = {
        "the app alone": BY_NAME[base],
        "the app alone, again (A/A)": LEFT_OUT[again(base)],
        **{part: LEFT_OUT[left_out(part, base, "sqlite")] for part in ACCEPTED_PARTS},
        ALL: BY_NAME[ours],
    }
    with lab.worlds() as worlds, Generator() as generator:
        keys = {database: world.register("acme") for database, world in worlds.items()}
        series = play_server(lab, server, list(arms.values()), worlds=worlds, keys=keys, generator=generator)
    found = {arm: series[contender.name] for arm, contender in arms.items()}
    columns = (("a second", "per_second", 0), ("CPU µs", "cpu_us", 1))
    return interval_table(f"Accepted, {base}, {server}", found, columns)


def refused(lab: Lab, database: str, load: str) -> Table:
    """Compare refusals with those that are not recorded, under one kind of load."""
    sizes = lab.sizes
    names = {UNRECORDED: CONTROL, AGAIN: CONTROL}
    names |= {part: left_out(part, BARE, database) for part in REFUSED_PARTS}
    names[ALL] = recording(database)
    with lab.world(database) as world, Generator() as generator, ExitStack() as stack:
        owner, attacked, *more = [world.register(f"customer-{number}") for number in range(sizes.connections + 1)]
        group = stack.enter_context(running_servers(world.folder / "servers"))
        # The control accepts one key pair: beside a flood its owner's, else that of the key that is attacked.
        known = owner if load == _FLOOD else attacked
        served = {arm: group.launch(UVICORN, name, world, known, "") for arm, name in names.items()}
        group.wait(*served.values())
        keys = [attacked, *more] if load == _MANY_KEYS else [attacked]
        wrong = tuple(request(PATH, each.basic("sk_wrong")) for each in keys)
        right = (request(PATH, owner.basic()),)

        def turn(arm: str) -> dict[str, float]:
            one = served[arm]
            if load == _FLOOD:
                streams = (
                    Stream(wrong, 401, sizes.rates[0], sizes.connections),
                    Stream(right, 200, sizes.probes, _PROBERS),
                )
                with probing(world.folder) as syncs:
                    job = FixedRate(one.port, streams, sizes.flood_seconds, lab.rng.getrandbits(32))
                    return flood_figures(generator.run(job), syncs)
            connections = 1 if load == _ALONE else sizes.connections
            with ExitStack() as pinned:
                if load == _ONE_CORE:
                    pinned.enter_context(on_one_core(one.pids(), others=(generator.pid,)))
                job = ClosedLoop(
                    one.port, wrong, 401, connections, sizes.refusal_seconds, one.pids(), sizes.settle_seconds
                )
                return refusal_figures(generator.run(job))

        series = lab.play(f"refused, {NAMES[database]}, {load}", list(served), sizes.refusal_rounds, turn)
    if load == _FLOOD:
        title = f"{sizes.rates[0]:,} refusals and {sizes.probes} accepted requests a second, {NAMES[database]}"
        return interval_table(title, series, _FLOOD_COLUMNS)
    return interval_table(f"Refused, {LOADS[load]}, {NAMES[database]}", series, _COLUMNS)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="limits", description=(__doc__ or "").partition("\n")[0])
    everything = (*ACCEPTED, *LOADS)
    parser.add_argument("--only", type=names_among(everything), default=everything, help=", ".join(everything))
    parser.add_argument("--database", action="append", choices=NAMES, help="may be repeated; all by default")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--size", choices=SIZES, default="full", help="how long a turn takes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    sizes = replace(SIZES[options.size], http_rounds=options.rounds, refusal_rounds=options.rounds)
    with open_lab("limits", sizes, options.seed, ("sqlite",)) as lab:
        for name in filter(options.only.__contains__, ACCEPTED):
            show(accepted(lab, name))
        for database in options.database or NAMES:
            for load in filter(options.only.__contains__, LOADS):
                show(refused(lab, database, load))
    return 0


if __name__ == "__main__":
    sys.exit(main())
