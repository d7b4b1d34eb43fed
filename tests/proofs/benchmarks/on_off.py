"""Measure what each optimization on the request path gains.

`python -m proofs.benchmarks.on_off [--rounds n] [--piece NAME] [--database NAME] [--scale x] [--seed n]`

Each piece is measured as it is, as it is once more (A/A, the control), and replaced by the plainest code that behaves
alike. Replacements take the place of module attributes while an arm is built and while it runs; the product has no
switch. Every round runs all arms in random order, and ratios are taken within a round.

CPU is that of the whole process until all events are committed, so load of other processes matters little. A database
server's CPU is not in it.
"""

import argparse
import gc
import math
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.progress import Progress

from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.domain.key_checks import PepperCheck
from proofs.benchmarks.arms import figures_of
from proofs.benchmarks.bulk import insert_keys, public_key
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.optimizations import KEYS, PIECES, Piece, Replacements, RequestKind
from proofs.benchmarks.presentation import Table, markdown
from proofs.benchmarks.sizes import TINY
from proofs.benchmarks.spread import Series, ratios

ON, AGAIN = "on", "on again (A/A)"
WANTED = 0.05  # what a piece must gain


def replaced(replacements: Replacements) -> ExitStack:
    """Return a context in which module attributes are replaced."""
    with ExitStack() as stack:
        for target, new in replacements.items():
            stack.enter_context(patch(target, new))
        return stack.pop_all()


def measure(
    lab: Lab, piece: Piece, kind: RequestKind, database: str, *, rounds: int, scale: float
) -> dict[str, Series]:
    """Return each arm's microseconds in every round. Raises RuntimeError when not every request was recorded."""
    replacements: dict[str, Replacements] = {ON: {}, AGAIN: {}, **piece.off}
    requests = max(1, int(kind.requests * scale))
    with lab.world(database) as world, ExitStack() as stack:
        insert_keys(world, KEYS)
        arms = {}
        for name, some in replacements.items():
            with replaced(some):
                arms[name] = arm = kind.build(world)
            stack.callback(arm.close)
            stack.callback(arm.stop)
        gc.freeze()

        def turn(name: str) -> dict[str, float]:
            with replaced(replacements[name]):
                return figures_of(arms[name], requests, warm_up=kind.warm_up)

        series = lab.play(f"{kind.name}, {NAMES[database]}", list(arms), rounds, turn)
        gc.unfreeze()
        recorded, wanted = world.recorded(), len(arms) * (rounds + 1) * (requests + kind.warm_up)
        if recorded != {kind.outcome: wanted}:
            raise RuntimeError(f"{kind.name}, {database}: {recorded} recorded, not {wanted} {kind.outcome}")
    return series


def bytes_of_records(lab: Lab, number: int) -> dict[str, float]:
    """Return the bytes that a cached record takes with its place in the cache, packed and as a named tuple."""
    found = {}
    with lab.world("sqlite") as world:
        insert_keys(world, number)
        for name, some in ((ON, {}), *PIECES["packed key records"].off.items()):
            peppers = PepperCheck(world.peppers)
            cache = KeyCache(world.database, size=number, interval=60, grace_period=0, peppers=peppers)
            with replaced(some):
                cache.load_many([public_key(0)])
                tracemalloc.start()
                for start in range(0, number, 500):
                    cache.load_many(map(public_key, range(start, min(start + 500, number))))
                gc.collect()
                found[name] = tracemalloc.get_traced_memory()[0] / number
                tracemalloc.stop()
            cache.close()
    return found


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % confidence interval, by ranks: nothing is assumed of the distribution."""
    ordered = sorted(values)
    middle, reach = (len(ordered) - 1) / 2, 0.98 * math.sqrt(len(ordered))
    low, high = max(0, math.floor(middle - reach)), min(len(ordered) - 1, math.ceil(middle + reach))
    return (ordered[math.floor(middle)] + ordered[math.ceil(middle)]) / 2, ordered[low], ordered[high]


def verdict(ratio: Sequence[float], control: Sequence[float]) -> str:
    """Say whether the plain code takes 5 % more CPU, or less, and whether the control's interval is apart from that."""
    _, low, high = median_interval(ratio)
    _, control_low, control_high = median_interval(control)
    if low >= max(1 + WANTED, control_high):
        return "gains"
    if high <= min(1 - WANTED, control_low):
        return "costs"
    return "gains no 5 %" if low > 1 - WANTED and high < 1 + WANTED else "undecided"


def table(title: str, series: dict[str, Series], rounds: int) -> Table:
    base = series[ON]
    rows = []
    for name, mine in series.items():
        cells = []
        for key in ("cpu_us", "thread_us", "wall_us"):
            median, low, high = median_interval(ratios(mine[key], base[key]))
            cells += [f"{median_interval(mine[key])[0]:,.2f}", f"{median:.3f} [{low:.3f} – {high:.3f}]"]
        compared = (ratios(each["cpu_us"], base["cpu_us"]) for each in (mine, series[AGAIN]))
        rows.append((name, *cells, "" if name in (ON, AGAIN) else verdict(*compared)))
    columns = ("", "CPU µs", "ratio", "CPU µs, client's thread", "ratio", "wall µs", "ratio", "the piece, by CPU")
    return Table(title, columns, rows, f"{rounds} rounds. Ratios to “on”: median and its 95 % confidence interval.")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="on_off", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--piece", action="append", choices=PIECES, help="may be repeated; all by default")
    parser.add_argument("--database", action="append", choices=NAMES, help="may be repeated; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    show = partial(print, flush=True)
    scale = options.scale
    with (
        tempfile.TemporaryDirectory(prefix="octy-on-off-") as folder,
        Progress(console=Console(file=sys.stderr)) as bar,
    ):
        lab = Lab(Path(folder), TINY, random.Random(options.seed), tuple(options.database or NAMES), bar)
        try:
            for name in options.piece or PIECES:
                piece = PIECES[name]
                for kind in piece.kinds:
                    for database in filter(piece.databases.__contains__, lab.databases):
                        series = measure(lab, piece, kind, database, rounds=options.rounds, scale=scale)
                        show(markdown(table(f"{name}: {kind.name}, {NAMES[database]}", series, options.rounds)))
            if "packed key records" in (options.piece or PIECES):
                found = bytes_of_records(lab, max(500, int(20_000 * scale)))
                show("Bytes of a cached record:", ", ".join(f"{name} {size:.0f}" for name, size in found.items()))
        finally:
            lab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
