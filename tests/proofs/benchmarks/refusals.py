"""Refusals a second, each answered after its commit, against the same refusals without recording.

One uvicorn process, 64 connections that send again as soon as they have a response. Attackers try one key, or as many
keys as there are connections. The control reads, verifies and answers alike (`apps.bare.Unrecorded`), so the ratio is
the price of recording alone. After the run every refusal that was answered must be in the database.
"""

from typing import Any

from support.world import Keys, World

from proofs.benchmarks.apps.bare import CONTROL, PATH
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.generator import ClosedLoop, Generator, Load
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.presentation import Plot, Table, bar, spread_table
from proofs.benchmarks.servers import UVICORN, ServerGroup, running_servers
from proofs.benchmarks.spread import Series, Spread, ratios, spreads
from proofs.benchmarks.wire import request
from proofs.load.report import percentile

UNRECORDED, AGAIN = "unrecorded", "unrecorded again (A/A)"


def one_key(store: str) -> str:
    return f"octy, {NAMES[store]}, one key"


def many_keys(store: str) -> str:
    return f"octy, {NAMES[store]}, a key each"


def measure(lab: Lab) -> dict[str, Any]:
    rounds = lab.sizes.refusal_rounds
    answered = dict.fromkeys(lab.stores, 0)
    with lab.worlds() as worlds, Generator() as generator, running_servers(lab.folder / "refusals") as group:
        jobs = {}
        for store, world in worlds.items():
            jobs |= _jobs(lab, store, world, group)

        def turn(arm: str) -> dict[str, float]:
            load = generator.run(jobs[arm])
            for store in lab.stores:
                if arm in (one_key(store), many_keys(store)):
                    answered[store] += len(load.times[0])
            return figures_of(load)

        series = lab.play("refusals", list(jobs), rounds, turn)
        for store, world in worlds.items():
            found = world.recorded().get("wrong_secret", 0)
            if found != answered[store]:
                raise RuntimeError(f"{store}: {answered[store]} refusals were answered, {found} are recorded")
    return {
        "rounds": rounds,
        "seconds": lab.sizes.refusal_seconds,
        "connections": lab.sizes.connections,
        "arms": summary(series),
    }


def _jobs(lab: Lab, store: str, world: World, group: ServerGroup) -> dict[str, ClosedLoop]:
    """Start the store's server, and the control with the first one; return the load of each arm."""
    sizes = lab.sizes
    attacked = [world.register(f"attacked-{number}") for number in range(sizes.connections)]
    contenders = {one_key(store): recording(store)}
    if store == lab.stores[0]:
        contenders |= {UNRECORDED: CONTROL, AGAIN: CONTROL}
    served = {arm: group.launch(UVICORN, name, world, attacked[0], "") for arm, name in contenders.items()}
    group.wait(*served.values())

    def job(arm: str, keys: list[Keys]) -> ClosedLoop:
        requests = tuple(request(PATH, each.basic("sk_wrong")) for each in keys)
        port, pids = served[arm].port, served[arm].pids()
        return ClosedLoop(port, requests, 401, sizes.connections, sizes.refusal_seconds, pids, sizes.settle_seconds)

    return {arm: job(arm, attacked[:1]) for arm in served} | {many_keys(store): job(one_key(store), attacked)}


def figures_of(load: Load) -> dict[str, float]:
    times = load.times[0]
    return {
        "per_second": len(times) / load.seconds,
        "p50_ms": percentile(times, 0.5) * 1e3,
        "p99_ms": percentile(times, 0.99) * 1e3,
        "cpu_us": load.cpu / len(times) * 1e6,
    }


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads and its ratios to the unrecorded one of the same round."""
    base = series[UNRECORDED]
    return {
        name: {
            **spreads(mine),
            "ratio": Spread.of(ratios(mine["per_second"], base["per_second"])),
            "cpu_ratio": Spread.of(ratios(base["cpu_us"], mine["cpu_us"])),
        }
        for name, mine in series.items()
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    columns = (
        ("a second", "per_second", 0),
        ("ratio to unrecorded", "ratio", 2),
        ("p50 ms", "p50_ms", 1),
        ("p99 ms", "p99_ms", 1),
        ("CPU µs a refusal", "cpu_us", 0),
        ("ratio by CPU", "cpu_ratio", 2),
    )
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s, {figures['connections']} connections, one uvicorn "
        "process (httptools, uvloop). Every refusal that was answered was found on disk after the run."
    )
    return [spread_table("Refusals answered after their commit", "refusals of", columns, figures["arms"], note)]


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [bar(name, arm["per_second"]) for name, arm in figures["arms"].items()]
    return [Plot("refusals", f"Refusals answered a second, {figures['connections']} connections", "a second", bars)]
