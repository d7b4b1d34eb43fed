"""What many keys cost: memory for those that are cached, time for those that are in the database.

Memory: a process of its own sends a request with every key pair and compares its resident set before and after; then
it sends requests with keys at random, which shows what a big dictionary costs. Time: apps on databases with few and
with many keys take turns; cached keys, keys that must be loaded (an app that caches a single record), and wrong
secrets, each refusal after its commit.
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
from proofs.benchmarks.apps.bare import bare_wsgi
from proofs.benchmarks.apps.contenders import without_recording
from proofs.benchmarks.arms import WsgiArm
from proofs.benchmarks.bulk import authorization, insert_keys
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown, spread_table
from proofs.benchmarks.spread import Series, Spread, ratios, spreads

_SAMPLE = 2000  # requests with keys at random
ATTACKED = 50  # keys with wrong secrets, as many whatever the size: streaks must not differ
_KINDS = ("cached", "loaded", "refused")


def measure(lab: Lab) -> dict[str, Any]:
    found = {database: _one_database(lab, database) for database in lab.databases}
    return {
        "rounds": lab.sizes.key_rounds,
        "requests": lab.sizes.key_requests,
        "memory": found[lab.databases[0]].pop("memory"),
        "databases": found,
    }


def _one_database(lab: Lab, database: str) -> dict[str, Any]:
    """Measure times on one database a size; and memory too, on the first kind, for it is the same on each."""
    sizes = lab.sizes
    with ExitStack() as stack:
        worlds: dict[int, World] = {}
        with lab.steps(f"keys, {NAMES[database]}: filling", len(sizes.keys)) as step:
            for size in sizes.keys:
                worlds[size] = stack.enter_context(lab.world(database))
                insert_keys(worlds[size], size)
                step()
        with ExitStack() as opened:
            apps = {str(size): _Apps(world, size, lab.rng, sizes.key_requests) for size, world in worlds.items()}
            for each in apps.values():
                opened.callback(each.stop)
            series = lab.play(f"keys, {NAMES[database]}", list(apps), sizes.key_rounds, lambda size: apps[size].turn())
        found: dict[str, Any] = {"sizes": summary(series, sizes.keys)}
        if database == lab.databases[0]:
            found["memory"] = {str(size): _memory_of(world, size) for size, world in worlds.items()}
        return found


class _Apps:
    """Two apps on one database: one that caches all keys, one that caches a single record."""

    def __init__(self, world: World, size: int, rng: Random, requests: int) -> None:
        self.warm = app(world.settings(key_cache_size=size))
        self.cold = app(world.settings(key_cache_size=1))
        self._rng, self._requests, self._size = rng, requests, size

    def turn(self) -> dict[str, float]:
        """Return microseconds a request of each kind."""
        chosen = self._rng.sample(range(self._size), min(self._requests, self._size))
        right = [authorization(number) for number in chosen]
        for _ in range(2):  # first the key is loaded, then the header is cached, whatever the size
            send_each(self.warm, right, 200)
        self.warm.flush()  # first uses are written once a minute and key: among few keys hardly ever
        attacked = [authorization(number % ATTACKED, wrong=True) for number in range(self._requests)]
        found = {
            "cached_us": statistics.fmean(send_each(self.warm, right, 200)),
            "loaded_us": statistics.median(send_each(self.cold, right, 200)),
            "refused_us": statistics.median(send_each(self.warm, attacked, 401)),
        }
        for arm in (self.warm, self.cold):
            arm.flush()
        return found

    def stop(self) -> None:
        for arm in (self.warm, self.cold):
            arm.stop()


def app(settings: Settings) -> WsgiArm:
    return WsgiArm(OctyWSGIMiddleware(bare_wsgi, settings=settings), "")


def send_each(arm: WsgiArm, headers: Sequence[str], status: int) -> list[float]:
    """Send a request with each header; return the microseconds of each."""
    taken = []
    clock = time.perf_counter
    for header in headers:
        begun = clock()
        found = arm.send(header)
        taken.append((clock() - begun) * 1e6)
        if int(found[:3]) != status:
            raise RuntimeError(f"the response was {found}, not {status}")
    return taken


def _memory_of(world: World, size: int) -> dict[str, Any]:
    """Measure in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure_memory, world.url, world.peppers.export(), size).result()


def measure_memory(url: str, peppers: str, size: int) -> dict[str, Any]:
    """Send a request with every key pair; return megabytes, and microseconds for key pairs at random."""
    settings = Settings.build(database_url=url, peppers=peppers, key_cache_size=size)
    arm = WsgiArm(OctyWSGIMiddleware(bare_wsgi, authenticator=without_recording(settings)), "")
    try:
        arm.send(authorization(0))
        before = _resident()
        for number in range(size):
            arm.send(authorization(number))
        grown = _resident() - before
        some = [authorization(number) for number in Random(size).choices(range(size), k=_SAMPLE)]
        again = [statistics.fmean(send_each(arm, some, 200)) for _ in range(5)]
        return {"megabytes": grown / 1e6, "bytes_a_key": grown / size, "cached_us": Spread.of(again)}
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
        size: spreads(mine)
        | {f"{key.rpartition('_')[0]}_ratio": Spread.of(ratios(values, base[key])) for key, values in mine.items()}
        for size, mine in series.items()
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    rows = [
        (f"{int(size):,}", f"{row['megabytes']:.1f}", f"{row['bytes_a_key']:,.0f}", shown(row["cached_us"]))
        for size, row in figures["memory"].items()
    ]
    memory = Table(
        "Memory for cached keys",
        ("keys", "MB", "bytes a key", "µs a request with one of them at random"),
        rows,
        "Growth of the resident set of a process that had one request with every key pair.",
    )
    columns = [
        (f"{kind}, {heading}", f"{kind}_{what}", digits)
        for kind in _KINDS
        for heading, what, digits in (("µs", "us", 1), ("ratio", "ratio", 2))
    ]
    note = (
        f"{figures['rounds']} rounds of {figures['requests']} requests of each kind, one after the other, on the WSGI "
        "adapter in process; ratios to the smallest size of the same round."
    )
    times = (
        spread_table(
            f"Cost of a request against the number of keys: {NAMES[database]}",
            "keys in the database",
            columns,
            {f"{int(size):,}": row for size, row in found["sizes"].items()},
            note,
        )
        for database, found in figures["databases"].items()
    )
    return [memory, *times]


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [
        bar(f"{NAMES[database]}, {int(size):,} keys: {kind}", row[f"{kind}_ratio"])
        for database, found in figures["databases"].items()
        for kind in _KINDS
        for size, row in found["sizes"].items()
    ]
    return [Plot("keys", "Cost of a request against the smallest number of keys", "ratio", bars, mark=1.0)]
