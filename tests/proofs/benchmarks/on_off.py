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
import sys
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.domain.key_checks import PepperCheck
from proofs.benchmarks.arms import figures_of
from proofs.benchmarks.bulk import insert_keys, public_key
from proofs.benchmarks.lab import NAMES, Lab, open_lab, show
from proofs.benchmarks.optimizations import KEYS, PIECES, Piece, Replacements, RequestKind
from proofs.benchmarks.presentation import Table, interval_table
from proofs.benchmarks.sizes import TINY
from proofs.benchmarks.spread import Series, median_interval, ratios

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


def conclusion(ratio: Sequence[float], control: Sequence[float]) -> str:
    """Say whether the plain code takes 5 % more CPU, or less, and whether the control's interval is apart from that."""
    _, low, high = median_interval(ratio)
    _, control_low, control_high = median_interval(control)
    if low >= max(1 + WANTED, control_high):
        return "gains"
    if high <= min(1 - WANTED, control_low):
        return "costs"
    return "gains no 5 %" if low > 1 - WANTED and high < 1 + WANTED else "undecided"


def table(title: str, series: dict[str, Series]) -> Table:
    columns = (("CPU µs", "cpu_us", 2), ("CPU µs, client's thread", "thread_us", 2), ("wall µs", "wall_us", 2))
    found = interval_table(title, series, columns, digits=3)
    compared = {name: ratios(mine["cpu_us"], series[ON]["cpu_us"]) for name, mine in series.items()}
    rows = [
        (*row, "" if name in (ON, AGAIN) else conclusion(compared[name], compared[AGAIN]))
        for row, name in zip(found.rows, series, strict=True)
    ]
    return replace(found, columns=(*found.columns, "the piece, by CPU"), rows=rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="on_off", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--piece", action="append", choices=PIECES, help="may be repeated; all by default")
    parser.add_argument("--database", action="append", choices=NAMES, help="may be repeated; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    scale = options.scale
    with open_lab("on-off", TINY, options.seed, tuple(options.database or NAMES)) as lab:
        for name in options.piece or PIECES:
            piece = PIECES[name]
            for kind in piece.kinds:
                for database in filter(piece.databases.__contains__, lab.databases):
                    series = measure(lab, piece, kind, database, rounds=options.rounds, scale=scale)
                    show(table(f"{name}: {kind.name}, {NAMES[database]}", series))
        if "packed key records" in (options.piece or PIECES):
            found = bytes_of_records(lab, max(500, int(20_000 * scale)))
            bytes_by_arm = ", ".join(f"{name} {size:.0f}" for name, size in found.items())
            sys.stdout.write(f"Bytes of a cached record: {bytes_by_arm}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
