"""What many keys cost: memory for those that are remembered, time for those that are in the database.

Memory: a process of its own asks once with every pair, so that whatever a request leaves behind is there, and compares
its resident set before and after; then it asks again for keys at random, which shows what a big dictionary costs.
Time: apps on databases with few and with many keys are asked in turns; remembered pairs, pairs that must be looked up
(an app that may remember one record only), and wrong secrets, each refusal after its commit.

Here: the measurements. Not here: the rows (`bulk`).
"""

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from support.world import World

from octy_middleware import OctyWSGIMiddleware, Settings
from proofs.benchmarks.apps.contenders import without_recording
from proofs.benchmarks.apps.wsgi_apps import bare_wsgi
from proofs.benchmarks.arms import WsgiArm
from proofs.benchmarks.bulk import authorization, insert_keys
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.rounds import Series, length, play
from proofs.benchmarks.spread import Spread, ratios

_SAMPLE = 2000  # keys that are asked for at random
ATTACKED = 50  # keys with wrong secrets, as many whatever the size: streaks must not differ


def measure(lab: Lab) -> dict[str, Any]:
    found = {store: _one_store(lab, store) for store in lab.stores}
    return {
        "rounds": lab.sizes.key_rounds,
        "requests": lab.sizes.key_requests,
        "memory": found[lab.stores[0]].pop("memory"),
        "stores": found,
    }


def _one_store(lab: Lab, store: str) -> dict[str, Any]:
    """Measure times on one database a size; and memory too, on the first kind, for it is the same on each."""
    with ExitStack() as stack:
        worlds = {}
        with lab.steps(f"keys, {NAMES[store]}: filling", len(lab.sizes.keys)) as step:
            for size in lab.sizes.keys:
                worlds[size] = stack.enter_context(lab.world(store))
                insert_keys(worlds[size], size)
                step()
        found: dict[str, Any] = {"sizes": summary(_times(lab, store, worlds), lab.sizes.keys)}
        if store == lab.stores[0]:
            with lab.steps("keys: memory", len(worlds)) as step:
                found["memory"] = {}
                for size, world in worlds.items():
                    found["memory"][str(size)] = _memory_of(world, size)
                    step()
        return found


class _Apps:
    """Two apps on one database: one that remembers, one that may remember a single record."""

    def __init__(self, world: World, size: int, rng: Random, requests: int) -> None:
        self.warm = app(world.settings(key_cache_size=size))
        self.cold = app(world.settings(key_cache_size=1))
        self._rng, self._requests, self._size = rng, requests, size

    def turn(self) -> dict[str, float]:
        """Return microseconds a request: remembered, looked up, refused."""
        chosen = self._rng.sample(range(self._size), min(self._requests, self._size))
        right = [authorization(number) for number in chosen]
        for _ in range(2):  # looked up, then remembered by its header: whatever the size, each was seen before
            ask(self.warm, right, 200)
        attacked = [authorization(number % ATTACKED, wrong=True) for number in range(self._requests)]
        found = {
            "remembered_us": statistics.fmean(ask(self.warm, right, 200)),
            "looked_up_us": statistics.median(ask(self.cold, right, 200)),
            "refused_us": statistics.median(ask(self.warm, attacked, 401)),
        }
        for arm in (self.warm, self.cold):
            arm.flush()
        return found

    def close(self) -> None:
        for arm in (self.warm, self.cold):
            arm.stop()


def app(settings: Settings) -> WsgiArm:
    return WsgiArm(OctyWSGIMiddleware(bare_wsgi, settings=settings), "")


def ask(arm: WsgiArm, headers: Sequence[str], status: int) -> list[float]:
    """Ask with each header once; return the microseconds of each."""
    taken = []
    clock = time.perf_counter
    for header in headers:
        begun = clock()
        found = arm.ask(header)
        taken.append((clock() - begun) * 1e6)
        if int(found[:3]) != status:
            raise RuntimeError(f"answered {found}, not {status}")
    return taken


def _times(lab: Lab, store: str, worlds: dict[int, World]) -> dict[str, Series]:
    sizes, rounds = lab.sizes, lab.sizes.key_rounds
    apps = {str(size): _Apps(world, size, lab.rng, sizes.key_requests) for size, world in worlds.items()}
    try:
        with lab.steps(f"keys, {NAMES[store]}", length(list(apps), rounds)) as step:
            return play(list(apps), rounds, lab.rng, lambda name: apps[name].turn(), step=step)
    finally:
        for each in apps.values():
            each.close()


def _memory_of(world: World, size: int) -> dict[str, Any]:
    """Measure in a process of its own, whose memory nothing else has been in."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(remember, world.url, world.peppers.export(), size).result()


def remember(url: str, peppers: str, size: int) -> dict[str, Any]:
    """Ask once with every pair; return megabytes, and microseconds for pairs at random."""
    settings = Settings.build(database_url=url, peppers=peppers, key_cache_size=size)
    arm = app(settings)
    without_recording(arm.app.authenticator)
    try:
        arm.ask(authorization(0))
        before = _resident()
        for number in range(size):
            arm.ask(authorization(number))
        grown = _resident() - before
        some = [authorization(number) for number in Random(size).choices(range(size), k=_SAMPLE)]
        again = [statistics.fmean(ask(arm, some, 200)) for _ in range(5)]
        return {"megabytes": grown / 1e6, "bytes_a_key": grown / size, "remembered_us": Spread.of(again)}
    finally:
        arm.stop()


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def summary(series: dict[str, Series], sizes: Sequence[int]) -> dict[str, Any]:
    """Return each size's spreads, and its ratios to the smallest size of the same round."""
    base = series[str(sizes[0])]
    return {
        size: {key: Spread.of(values) for key, values in mine.items()}
        | {f"{key.rpartition('_')[0]}_ratio": Spread.of(ratios(values, base[key])) for key, values in mine.items()}
        for size, mine in series.items()
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    rows = [
        (f"{int(size):,}", f"{row['megabytes']:.1f}", f"{row['bytes_a_key']:,.0f}", shown(row["remembered_us"]))
        for size, row in figures["memory"].items()
    ]
    memory = Table(
        "Memory for keys that are remembered",
        ("keys", "MB", "bytes a key", "µs a request with one of them at random"),
        rows,
        "Growth of the resident set of a process that was asked once with every pair.",
    )
    return [memory, *(_times_table(NAMES[store], found, figures) for store, found in figures["stores"].items())]


def _times_table(store: str, found: dict[str, Any], figures: dict[str, Any]) -> Table:
    kinds = ("remembered", "looked_up", "refused")
    columns = (
        "keys in the database",
        *(f"{kind.replace('_', ' ')}, {what}" for kind in kinds for what in ("µs", "ratio")),
    )
    rows = [
        (f"{int(size):,}", *(shown(row[f"{kind}_{what}"], digits) for kind in kinds for what, digits in _SHOWN))
        for size, row in found["sizes"].items()
    ]
    note = (
        f"{figures['rounds']} rounds of {figures['requests']} requests of each kind, one after the other, on the WSGI "
        "adapter in process; ratios to the smallest size of the same round."
    )
    return Table(f"Cost of a request against the number of keys: {store}", columns, rows, note)


_SHOWN = (("us", 1), ("ratio", 2))


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [
        bar(f"{NAMES[store]}, {int(size):,} keys: {kind.replace('_', ' ')}", row[f"{kind}_ratio"])
        for store, found in figures["stores"].items()
        for kind in ("remembered", "looked_up", "refused")
        for size, row in found["sizes"].items()
    ]
    return [Plot("keys", "Cost of a request against the smallest number of keys", "ratio", bars, mark=1.0)]
