"""A flood at a fixed rate: what recording adds to a refusal, and what the flood does to accepted requests.

Wrong secrets come at an even rate, whatever the responses do, beside accepted requests of another customer; the highest
rate that every arm keeps up with is taken. The control refuses alike and records nothing, and runs twice: the
difference is noise. One server has room for a single key record, so that every right key pair is loaded as at its first
use. While each arm runs, a page is synced to the same disk at intervals, as no commit can be faster.
"""

import statistics
from collections.abc import Callable
from typing import Any

from support.world import World

from proofs.benchmarks.apps.bare import CONTROL, PATH
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.generator import FixedRate, Generator, Load, Stream
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.machine import probing
from proofs.benchmarks.presentation import Plot, Table, bar, shown, spread_table
from proofs.benchmarks.servers import UVICORN, Served, running_servers
from proofs.benchmarks.sizes import Sizes
from proofs.benchmarks.spread import Series, Spread, differences, ratios, spreads
from proofs.benchmarks.wire import request
from proofs.load.report import percentile

OURS, CONTROL_ARM, AGAIN = "octy", "unrecorded", "unrecorded again (A/A)"
CALM = ", no flood"
FIRST_USE = "octy, first uses"
_PROBERS = 4  # connections of accepted requests


def measure(lab: Lab) -> dict[str, Any]:
    with lab.worlds() as worlds, Generator() as generator:
        found = {database: _one_database(lab, database, world, generator) for database, world in worlds.items()}
    return {"rounds": lab.sizes.flood_rounds, "seconds": lab.sizes.flood_seconds, "databases": found}


def _one_database(lab: Lab, database: str, world: World, generator: Generator) -> dict[str, Any]:
    sizes = lab.sizes
    attacked, owner, *others = [world.register(f"customer-{number}") for number in range(_PROBERS + 1)]
    wrong = (request(PATH, attacked.basic("sk_wrong")),)
    seen, first = (
        Stream(tuple(request(PATH, keys.basic()) for keys in some), 200, sizes.probes, _PROBERS)
        for some in ([owner], [owner, *others])
    )

    def job(served: Served, rate: int | None, right: Stream = seen) -> FixedRate:
        streams = (right,) if rate is None else (Stream(wrong, 401, rate, sizes.connections), right)
        seed = lab.rng.getrandbits(32)
        return FixedRate(served.port, streams, sizes.flood_seconds, seed)

    names = {OURS: recording(database), CONTROL_ARM: CONTROL, AGAIN: CONTROL}
    with running_servers(lab.folder / f"flood-{database}") as group:
        served = {arm: group.launch(UVICORN, name, world, owner, "") for arm, name in names.items()}
        uncached = group.launch(UVICORN, recording(database), world, owner, "", key_cache_size=1)
        group.wait(*served.values(), uncached)
        rate = highest(
            sizes.rates, lambda rate: all(keeps_up(generator.run(job(one, rate)), sizes) for one in served.values())
        )
        arms = {arm: job(one, rate) for arm, one in served.items()}
        arms |= {arm + CALM: job(served[arm], None) for arm in (OURS, CONTROL_ARM)}
        arms |= {FIRST_USE: job(uncached, rate, first), FIRST_USE + CALM: job(uncached, None, first)}

        def turn(arm: str) -> dict[str, float]:
            with probing(world.folder) as syncs:
                load = generator.run(arms[arm])
            return figures_of(load, syncs)

        series = lab.play(f"flood, {NAMES[database]}, {rate}/s", list(arms), sizes.flood_rounds, turn)
    return {str(rate): {"probes": sizes.probes, **summary(series)}}


def highest(rates: tuple[int, ...], sustained: Callable[[int], bool]) -> int:
    """Return the first rate that is sustained. Raises RuntimeError when none is."""
    for rate in rates:
        if sustained(rate):
            return rate
    raise RuntimeError(f"not even {rates[-1]} refusals a second are sustained")


def keeps_up(load: Load, sizes: Sizes) -> bool:
    """Return whether the last responses came soon after the last requests were due."""
    return load.seconds <= sizes.flood_seconds + sizes.late_seconds


def figures_of(load: Load, syncs: list[float]) -> dict[str, float]:
    """Return milliseconds; without a flood there is one stream, of accepted requests."""
    *floods, right = load.times
    found = {"sync_ms": statistics.median(syncs) * 1e3}
    for kind, times in (("accepted", right), *(("refused", flood) for flood in floods)):
        found[f"{kind}_p50_ms"] = percentile(times, 0.5) * 1e3
        found[f"{kind}_p99_ms"] = percentile(times, 0.99) * 1e3
    return found


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads; what recording adds; what the flood and recording do to accepted requests' p99."""
    ours, control, again = series[OURS], series[CONTROL_ARM], series[AGAIN]
    p50, p99 = (differences(ours[key], control[key]) for key in ("refused_p50_ms", "refused_p99_ms"))
    return {
        "arms": {arm: spreads(mine) for arm, mine in series.items()},
        "added_p50_ms": Spread.of(p50),
        "added_p99_ms": Spread.of(p99),
        "added_p50_syncs": Spread.of(ratios(p50, ours["sync_ms"])),
        "accepted_p99_ratio": Spread.of(ratios(ours["accepted_p99_ms"], control["accepted_p99_ms"])),
        "accepted_p99_to_calm": Spread.of(ratios(ours["accepted_p99_ms"], series[OURS + CALM]["accepted_p99_ms"])),
        "first_use_p99_ms": Spread.of(series[FIRST_USE]["accepted_p99_ms"]),
        "accepted_p99_noise": Spread.of(ratios(again["accepted_p99_ms"], control["accepted_p99_ms"])),
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    return [
        _table(NAMES[database], int(rate), found, figures)
        for database, rates in figures["databases"].items()
        for rate, found in rates.items()
    ]


def _table(database: str, rate: int, found: dict[str, Any], figures: dict[str, Any]) -> Table:
    keys = ("refused_p50_ms", "refused_p99_ms", "accepted_p50_ms", "accepted_p99_ms", "sync_ms")
    columns = [(key.replace("_", " ").replace("sync", "fdatasync"), key, 2) for key in keys]
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s. Added to a refusal: p50 "
        f"{shown(found['added_p50_ms'])} ms, that is {shown(found['added_p50_syncs'], 1)} fdatasyncs; p99 "
        f"{shown(found['added_p99_ms'])} ms. Accepted p99 against that without the flood: "
        f"{shown(found['accepted_p99_to_calm'])}; against the unrecorded flood's: "
        f"{shown(found['accepted_p99_ratio'])}, which against itself is {shown(found['accepted_p99_noise'])}."
    )
    title = f"{rate:,} refusals and {found['probes']:,} accepted requests a second: {database}"
    return spread_table(title, "server", columns, found["arms"], note)


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [
        bar(f"{arm}: {NAMES[database]}, {kind}", row[f"{kind}_p99_ms"])
        for database, rates in figures["databases"].items()
        for found in rates.values()
        for kind in ("refused", "accepted")
        for arm, row in found["arms"].items()
        if f"{kind}_p99_ms" in row
    ]
    return [Plot("flood", "p99 during a flood at a fixed rate", "ms", bars)]
