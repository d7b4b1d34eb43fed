"""Refusals a second, each answered after its commit, against the same refusals that nobody writes down.

One uvicorn process, 64 connections that ask again as soon as they are answered. Attackers try one key, or as many keys
as there are connections. The unrecorded control reads, verifies and answers alike (`apps.control`), so the ratio is
the price of the store alone. After the run every refusal that was answered must be on disk.

Here: the arms, their ratios. Not here: asking (`generator`), latency at a fixed rate (`flood`).
"""

from typing import Any

from support.world import Keys, World

from proofs.benchmarks.apps.asgi_apps import PATH
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.apps.control import CONTROL
from proofs.benchmarks.generator import Closed, Generator, Load
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.rounds import Series, length, play
from proofs.benchmarks.servers import UVICORN, Hall, Served, hall
from proofs.benchmarks.spread import Spread, ratios
from proofs.benchmarks.wire import request
from proofs.load.report import percentile

UNRECORDED, AGAIN = "unrecorded", "unrecorded again (A/A)"


def one_key(store: str) -> str:
    return f"octy, {NAMES[store]}, one key"


def many_keys(store: str) -> str:
    return f"octy, {NAMES[store]}, a key each"


def measure(lab: Lab) -> dict[str, Any]:
    answered = dict.fromkeys(lab.stores, 0)
    with lab.worlds() as worlds, Generator() as generator, hall(lab.folder / "refusals") as group:
        jobs = {}
        for store, world in worlds.items():
            jobs |= _jobs(lab, store, world, group)

        def turn(arm: str) -> dict[str, float]:
            load = generator.run(jobs[arm])
            for store in lab.stores:
                if arm in (one_key(store), many_keys(store)):
                    answered[store] += len(load.times[0])
            return figures_of(load)

        rounds = lab.sizes.refusal_rounds
        with lab.steps("refusals", length(list(jobs), rounds)) as step:
            series = play(list(jobs), rounds, lab.rng, turn, step=step)
        for store, world in worlds.items():
            _check_records(store, world, answered[store])
    return {
        "rounds": rounds,
        "seconds": lab.sizes.refusal_seconds,
        "connections": lab.sizes.connections,
        "arms": summary(series),
    }


def _jobs(lab: Lab, store: str, world: World, group: Hall) -> dict[str, Closed]:
    """Start the store's server, and the control with the first one; return what to ask of each."""
    attacked = [world.register(f"attacked-{number}") for number in range(lab.sizes.connections)]
    contenders = {one_key(store): recording(store)}
    if store == lab.stores[0]:
        contenders |= {UNRECORDED: CONTROL, AGAIN: CONTROL}
    served = {arm: group.launch(UVICORN, name, world, attacked[0], "") for arm, name in contenders.items()}
    group.wait(*served.values())
    jobs = {arm: _job(lab, server, attacked[:1]) for arm, server in served.items()}
    return jobs | {many_keys(store): _job(lab, served[one_key(store)], attacked)}


def _job(lab: Lab, served: Served, attacked: list[Keys]) -> Closed:
    asked = tuple(request(PATH, keys.basic("sk_wrong")) for keys in attacked)
    sizes = lab.sizes
    return Closed(
        served.port,
        asked,
        401,
        sizes.connections,
        sizes.refusal_seconds,
        served.pids(),
        settle_seconds=sizes.settle_seconds,
    )


def figures_of(load: Load) -> dict[str, float]:
    times = load.times[0]
    return {
        "per_second": len(times) / load.seconds,
        "p50_ms": percentile(times, 0.5) * 1e3,
        "p99_ms": percentile(times, 0.99) * 1e3,
        "cpu_us": load.cpu / len(times) * 1e6,
    }


def _check_records(store: str, world: World, answered: int) -> None:
    found = world.recorded().get("wrong_secret", 0)
    if found != answered:
        raise RuntimeError(f"{store}: {answered} refusals were answered, {found} are recorded")


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads and its rate against the unrecorded one's of the same round."""
    base = series[UNRECORDED]
    return {
        name: {key: Spread.of(values) for key, values in mine.items()}
        | {
            "ratio": Spread.of(ratios(mine["per_second"], base["per_second"])),
            "cpu_ratio": Spread.of(ratios(base["cpu_us"], mine["cpu_us"])),
        }
        for name, mine in series.items()
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    columns = ("refusals of", "a second", "ratio to unrecorded", "p50 ms", "p99 ms", "CPU µs a refusal", "ratio by CPU")
    rows = [
        (
            name,
            shown(arm["per_second"], 0),
            shown(arm["ratio"]),
            shown(arm["p50_ms"], 1),
            shown(arm["p99_ms"], 1),
            shown(arm["cpu_us"], 0),
            shown(arm["cpu_ratio"]),
        )
        for name, arm in figures["arms"].items()
    ]
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s, {figures['connections']} connections, one uvicorn "
        "process (httptools, uvloop). Every refusal that was answered was found on disk after the run."
    )
    return [Table("Refusals answered after their commit", columns, rows, note)]


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [bar(name, arm["per_second"]) for name, arm in figures["arms"].items()]
    return [Plot("refusals", f"Refusals answered a second, {figures['connections']} connections", "a second", bars)]
