"""A flood at a fixed rate: what the store adds to a refusal, and what the flood does to requests with a right pair.

Wrong secrets come at an even rate, whatever the answers do, beside requests with another customer's right pair; the
highest of some rates that every arm keeps up with is taken. The control refuses alike and writes nothing down, and
stands in twice: what its second self differs by is noise. While each arm runs, a page is synced to the same disk
every so often, for a commit can't be faster than that.

Here: the arms, what is added. Not here: asking (`generator`), the highest rate of all (`refusals`).
"""

import statistics
from typing import Any

from support.world import Keys, World

from proofs.benchmarks.apps.asgi_apps import PATH
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.apps.control import CONTROL
from proofs.benchmarks.generator import Generator, Load, Open, Stream
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.machine import probing
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.rounds import Series, length, play
from proofs.benchmarks.servers import UVICORN, Served, hall
from proofs.benchmarks.sizes import Sizes
from proofs.benchmarks.spread import Spread, differences, ratios
from proofs.benchmarks.wire import request
from proofs.load.report import percentile

OURS, CONTROL_ARM, AGAIN = "octy", "unrecorded", "unrecorded again (A/A)"
CALM = ", no flood"
_PROBERS = 4  # connections with a right pair


def measure(lab: Lab) -> dict[str, Any]:
    with lab.worlds() as worlds, Generator() as generator:
        found = {store: _one_store(lab, store, world, generator) for store, world in worlds.items()}
    return {"rounds": lab.sizes.flood_rounds, "seconds": lab.sizes.flood_seconds, "stores": found}


def _one_store(lab: Lab, store: str, world: World, generator: Generator) -> dict[str, Any]:
    attacked, owner = world.register("attacked"), world.register("owner")
    names = {OURS: recording(store), CONTROL_ARM: CONTROL, AGAIN: CONTROL}
    with hall(lab.folder / f"flood-{store}") as group:
        served = {arm: group.launch(UVICORN, name, world, owner, "") for arm, name in names.items()}
        group.wait(*served.values())
        jobs = _Jobs(lab, attacked, owner)
        rate = highest(
            lab.sizes.rates,
            lambda rate: all(keeps_up(generator.run(jobs.flood(one, rate)), lab.sizes) for one in served.values()),
        )
        arms = {arm: jobs.flood(one, rate) for arm, one in served.items()}
        arms |= {arm + CALM: jobs.calm(served[arm]) for arm in (OURS, CONTROL_ARM)}

        def turn(arm: str) -> dict[str, float]:
            with probing(world.folder) as syncs:
                load = generator.run(arms[arm])
            return figures_of(load, syncs)

        rounds = lab.sizes.flood_rounds
        with lab.steps(f"flood, {NAMES[store]}, {rate}/s", length(list(arms), rounds)) as step:
            series = play(list(arms), rounds, lab.rng, turn, step=step)
    return {"rate": rate, "probes": lab.sizes.probes, **summary(series)}


class _Jobs:
    """What is asked of a server: a flood with requests of a right pair beside it, or these alone."""

    def __init__(self, lab: Lab, attacked: Keys, owner: Keys) -> None:
        self._lab = lab
        self.seconds = lab.sizes.flood_seconds
        self._wrong = (request(PATH, attacked.basic("sk_wrong")),)
        self._right = Stream((request(PATH, owner.basic()),), 200, lab.sizes.probes, _PROBERS)

    def flood(self, served: Served, rate: int) -> Open:
        return self._open(served, Stream(self._wrong, 401, rate, self._lab.sizes.connections), self._right)

    def calm(self, served: Served) -> Open:
        return self._open(served, self._right)

    def _open(self, served: Served, *streams: Stream) -> Open:
        sizes = self._lab.sizes
        return Open(
            served.port,
            streams,
            self.seconds,
            self._lab.rng.getrandbits(32),
            served.pids(),
            settle_seconds=sizes.settle_seconds,
        )


def highest(rates: tuple[int, ...], sustained: Any) -> int:
    """Return the first rate that is kept up with. Raises RuntimeError when none is."""
    for rate in rates:
        if sustained(rate):
            return rate
    raise RuntimeError(f"not even {rates[-1]} refusals a second are kept up with")


def keeps_up(load: Load, sizes: Sizes) -> bool:
    """Return whether the last answers came soon after the last requests were due."""
    return load.seconds <= sizes.flood_seconds + sizes.late_seconds


def figures_of(load: Load, syncs: list[float]) -> dict[str, float]:
    """Return milliseconds; without a flood there is one stream, of the right pair."""
    *floods, right = load.times
    found = {"sync_ms": statistics.median(syncs) * 1e3}
    for kind, times in (("accepted", right), *(("refused", flood) for flood in floods)):
        found[f"{kind}_p50_ms"] = percentile(times, 0.5) * 1e3
        found[f"{kind}_p99_ms"] = percentile(times, 0.99) * 1e3
    return found


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads; what the store adds; accepted requests' p99 against the control's, and its noise."""
    ours, control, again = series[OURS], series[CONTROL_ARM], series[AGAIN]
    added = {
        key: Spread.of(differences(ours[f"refused_{key}_ms"], control[f"refused_{key}_ms"])) for key in ("p50", "p99")
    }
    p50 = differences(ours["refused_p50_ms"], control["refused_p50_ms"])
    return {
        "arms": {arm: {key: Spread.of(values) for key, values in mine.items()} for arm, mine in series.items()},
        "added_p50_ms": added["p50"],
        "added_p99_ms": added["p99"],
        "added_p50_syncs": Spread.of(ratios(p50, ours["sync_ms"])),
        "accepted_p99_ratio": Spread.of(ratios(ours["accepted_p99_ms"], control["accepted_p99_ms"])),
        "accepted_p99_noise": Spread.of(ratios(again["accepted_p99_ms"], control["accepted_p99_ms"])),
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    return [_table(NAMES[store], found, figures) for store, found in figures["stores"].items()]


def _table(store: str, found: dict[str, Any], figures: dict[str, Any]) -> Table:
    columns = ("server", "refused p50 ms", "refused p99 ms", "accepted p50 ms", "accepted p99 ms", "fdatasync ms")
    keys = ("refused_p50_ms", "refused_p99_ms", "accepted_p50_ms", "accepted_p99_ms", "sync_ms")
    rows = [(arm, *(shown(row[key]) if key in row else "–" for key in keys)) for arm, row in found["arms"].items()]
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s. Added to a refusal: p50 "
        f"{shown(found['added_p50_ms'])} ms, that is {shown(found['added_p50_syncs'], 1)} fdatasyncs; p99 "
        f"{shown(found['added_p99_ms'])} ms. Accepted p99 against the control's: {shown(found['accepted_p99_ratio'])}, "
        f"the control against itself {shown(found['accepted_p99_noise'])}."
    )
    title = f"{found['rate']:,} refusals and {found['probes']:,} right pairs a second: {store}"
    return Table(title, columns, rows, note)


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [
        bar(f"{arm}: {NAMES[store]}, {kind}", row[f"{kind}_p99_ms"])
        for store, found in figures["stores"].items()
        for kind in ("refused", "accepted")
        for arm, row in found["arms"].items()
        if f"{kind}_p99_ms" in row
    ]
    return [Plot("flood", "p99 during a flood at a fixed rate", "ms", bars)]
