"""What full tables cost: the latency of a refusal with a thousand, and with ten million, recorded outcomes.

Half of the rows are attempts and half of them counters. Wrong secrets come one after the other for keys that have a
history, each answered after its commit; databases of all sizes take turns.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from proofs.benchmarks.bulk import authorization, insert_outcomes
from proofs.benchmarks.keys import ATTACKED, app, send_each, summary
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.presentation import Plot, Table, bar, spread_table
from proofs.load.report import percentile


def measure(lab: Lab) -> dict[str, Any]:
    return {
        "rounds": lab.sizes.outcome_rounds,
        "refusals": lab.sizes.outcome_refusals,
        "databases": {database: _one_database(lab, database) for database in lab.databases},
    }


def _one_database(lab: Lab, database: str) -> dict[str, Any]:
    sizes = lab.sizes.outcomes
    with ExitStack() as stack:
        arms = {}
        with lab.steps(f"tables, {NAMES[database]}: filling", len(sizes)) as step:
            for size in sizes:
                world = stack.enter_context(lab.world(database))
                insert_outcomes(world, size)
                arms[str(size)] = arm = app(world.settings())
                stack.callback(arm.stop)
                step()
        wrong = [authorization(number % ATTACKED, wrong=True) for number in range(lab.sizes.outcome_refusals)]

        def turn(size: str) -> dict[str, float]:
            return figures_of(send_each(arms[size], wrong, 401))

        return summary(lab.play(f"tables, {NAMES[database]}", list(arms), lab.sizes.outcome_rounds, turn), sizes)


def figures_of(microseconds: Sequence[float]) -> dict[str, float]:
    return {"p50_ms": percentile(microseconds, 0.5) / 1e3, "p99_ms": percentile(microseconds, 0.99) / 1e3}


def tables(figures: dict[str, Any]) -> list[Table]:
    columns = (("p50 ms", "p50_ms", 2), ("ratio", "p50_ratio", 2), ("p99 ms", "p99_ms", 2), ("ratio", "p99_ratio", 2))
    note = (
        f"{figures['rounds']} rounds of {figures['refusals']} refusals, one after the other; ratios to the smallest "
        "size of the same round. Half of the rows are in `attempt`, half in `outcome_minute`."
    )
    return [
        spread_table(
            f"Latency of a refusal against what is recorded already: {NAMES[database]}",
            "recorded outcomes",
            columns,
            {f"{int(size):,}": row for size, row in found.items()},
            note,
        )
        for database, found in figures["databases"].items()
    ]


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [
        bar(f"{NAMES[database]}, {int(size):,} rows: {kind}", row[f"{kind}_ms"])
        for database, found in figures["databases"].items()
        for kind in ("p50", "p99")
        for size, row in found.items()
    ]
    return [Plot("tables", "Latency of a refusal against recorded outcomes", "ms", bars)]
