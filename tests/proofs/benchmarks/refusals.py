"""Refusals a second, each answered after its commit, against the same refusals without recording.

One uvicorn process, 64 connections that send again as soon as they have a response. Attackers try one key, or as many
keys as there are connections. The control reads, verifies and answers alike (`apps.bare.Unrecorded`), so the ratio is
the price of recording alone. After the run every refusal that was answered must be in the database.

CPU a refusal is compared once more with each server on one core and the load generator on the others, where threads do
not wait for each other's core. One connection alone shows the latency of an idle server, in fdatasyncs of that moment.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from support.world import Keys, World

from proofs.benchmarks.apps.bare import CONTROL, PATH
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.generator import ClosedLoop, Generator, Load
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.machine import on_one_core, sync_seconds
from proofs.benchmarks.presentation import Plot, Table, bar, spread_table
from proofs.benchmarks.servers import UVICORN, ServerGroup, running_servers
from proofs.benchmarks.spread import Series, Spread, ratios, spreads
from proofs.benchmarks.wire import request
from proofs.load.report import percentile

UNRECORDED, AGAIN = "unrecorded", "unrecorded again (A/A)"
ONE_CORE, ONE_CONNECTION = ", one core", ", one connection"
_SYNCS = 50


def one_key(database: str) -> str:
    return f"octy, {NAMES[database]}, one key"


def many_keys(database: str) -> str:
    return f"octy, {NAMES[database]}, a key each"


def one_connection(database: str) -> str:
    return one_key(database) + ONE_CONNECTION


@dataclass(frozen=True)
class _Arm:
    """The load of one arm. `database`: where its refusals are recorded; empty for the control."""

    job: ClosedLoop
    database: str


def measure(lab: Lab) -> dict[str, Any]:
    rounds = lab.sizes.refusal_rounds
    answered = dict.fromkeys(["", *lab.databases], 0)
    with lab.worlds() as worlds, Generator() as generator, running_servers(lab.folder / "refusals") as group:
        arms: dict[str, _Arm] = {}
        for database, world in worlds.items():
            arms |= _arms(lab, database, world, group)

        def turn(name: str) -> dict[str, float]:
            arm = arms[name]
            sync = median(sync_seconds(lab.folder, _SYNCS)) if name.endswith(ONE_CONNECTION) else None
            with ExitStack() as stack:
                if name.endswith(ONE_CORE):
                    stack.enter_context(on_one_core(arm.job.pids, others=(generator.pid,)))
                load = generator.run(arm.job)
            answered[arm.database] += len(load.times[0])
            return figures_of(load, sync)

        series = lab.play("refusals", list(arms), rounds, turn)
        for database, world in worlds.items():
            found = world.recorded().get("wrong_secret", 0)
            if found != answered[database]:
                raise RuntimeError(f"{database}: {answered[database]} refusals were answered, {found} are recorded")
    return {
        "rounds": rounds,
        "seconds": lab.sizes.refusal_seconds,
        "connections": lab.sizes.connections,
        "arms": summary(series),
    }


def _arms(lab: Lab, database: str, world: World, group: ServerGroup) -> dict[str, _Arm]:
    """Start the server on that database, and the control with the first one; return the arms on them."""
    sizes = lab.sizes
    attacked = [world.register(f"attacked-{number}") for number in range(sizes.connections)]
    contenders = {one_key(database): recording(database)}
    if database == lab.databases[0]:
        contenders |= {UNRECORDED: CONTROL, AGAIN: CONTROL}
    served = {arm: group.launch(UVICORN, name, world, attacked[0], "") for arm, name in contenders.items()}
    group.wait(*served.values())

    def arm(name: str, keys: list[Keys], connections: int = sizes.connections) -> _Arm:
        requests = tuple(request(PATH, each.basic("sk_wrong")) for each in keys)
        one = served[name]
        recorded_in = "" if name in (UNRECORDED, AGAIN) else database
        settle = sizes.settle_seconds if recorded_in else 0.0
        job = ClosedLoop(one.port, requests, 401, connections, sizes.refusal_seconds, one.pids(), settle)
        return _Arm(job, recorded_in)

    ours = one_key(database)
    return {
        **{name: arm(name, attacked[:1]) for name in served},
        **{name + ONE_CORE: arm(name, attacked[:1]) for name in served if name != AGAIN},
        many_keys(database): arm(ours, attacked),
        one_connection(database): arm(ours, attacked[:1], 1),
    }


def figures_of(load: Load, sync: float | None = None) -> dict[str, float]:
    """`sync`: seconds of an fdatasync just before."""
    times = load.times[0]
    p50 = percentile(times, 0.5)
    found = {
        "per_second": len(times) / load.seconds,
        "p50_ms": p50 * 1e3,
        "p99_ms": percentile(times, 0.99) * 1e3,
        "cpu_us": load.cpu / len(times) * 1e6,
    }
    return found if sync is None else {**found, "p50_syncs": p50 / sync}


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads, and its ratios to the unrecorded one under the same load in the same round."""
    return {name: {**spreads(mine), **_ratios(name, mine, series)} for name, mine in series.items()}


def _ratios(name: str, mine: Series, series: dict[str, Series]) -> dict[str, Spread]:
    if name.endswith(ONE_CONNECTION):
        return {}
    base = series[UNRECORDED + (ONE_CORE if name.endswith(ONE_CORE) else "")]
    return {
        "ratio": Spread.of(ratios(mine["per_second"], base["per_second"])),
        "cpu_cost": Spread.of(ratios(mine["cpu_us"], base["cpu_us"])),
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    columns = (
        ("a second", "per_second", 0),
        ("ratio to unrecorded", "ratio", 2),
        ("p50 ms", "p50_ms", 2),
        ("p99 ms", "p99_ms", 1),
        ("p50 in fdatasyncs", "p50_syncs", 1),
        ("CPU µs a refusal", "cpu_us", 0),
        ("CPU to unrecorded", "cpu_cost", 2),
    )
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s, {figures['connections']} connections, one uvicorn "
        "process (httptools, uvloop); one core: that process has a core of its own. Every refusal that was answered "
        "was found on disk after the run."
    )
    return [spread_table("Refusals answered after their commit", "refusals of", columns, figures["arms"], note)]


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [bar(name, arm["per_second"]) for name, arm in figures["arms"].items()]
    return [Plot("refusals", "Refusals answered a second", "a second", bars)]
