"""What accepted and refused requests cost in process on Python 3.11 and the newest one that is found.

CPU a request of the whole process, calls of an accepted request, and instructions. Calls and instructions hardly depend
on what else the machine does, so they show a regression that times hide. Each turn is a process of its own.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

from support.paths import TESTS
from support.world import World

from proofs.benchmarks import instructions, pythons
from proofs.benchmarks.bulk import authorization, insert_keys
from proofs.benchmarks.hot_path import ACCEPTED_ASGI, COUNTED, HOT_PATHS, REFUSED
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.spread import Spread

IN_INSTRUCTIONS = (ACCEPTED_ASGI, REFUSED)
"""The paths whose instructions are counted: those where no batch depends on time."""
SPREAD_OF_INSTRUCTIONS = {ACCEPTED_ASGI: 0.03, REFUSED: 0.1}
"""What two counts of one code may differ by, as a part of the count. Seen in 24 counts, some beside a load: 0.01, and
0.036 of a refused request, whose threads take turns as time has it."""
_NOT_INSTALLED = "valgrind not installed"


def measure(lab: Lab) -> dict[str, Any]:
    """Take turns with the interpreters; the running one is the first."""
    interpreters = {pythons.running(): sys.executable}
    left_out: dict[str, str] = {}
    if lab.sizes.other_pythons:
        others, left_out = pythons.others()
        interpreters |= others
    with lab.world("sqlite") as world:
        insert_keys(world, 1)
        environment = environment_of(world)
        calls: dict[str, dict[str, int]] = {}

        def turn(version: str) -> dict[str, float]:
            command = [interpreters[version], "-m", "proofs.benchmarks.hot_path", str(lab.sizes.hot_requests)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            found = json.loads(done.stdout)
            calls[version] = found["calls"]
            return dict(found["cpu_us"])

        series = lab.play("hot paths", list(interpreters), lab.sizes.hot_rounds, turn)
    counts = _count_instructions(lab, interpreters)
    found = {
        version: {
            name: {"cpu_us": Spread.of(values), **_of(name, calls[version], counts[version])}
            for name, values in each.items()
        }
        for version, each in series.items()
    }
    most = {name: max(each[name] for each in calls.values()) for name in COUNTED}
    return {
        "rounds": lab.sizes.hot_rounds,
        "requests": lab.sizes.hot_requests,
        "pythons": found,
        "calls": most,
        "left_out": left_out,
        "valgrind": instructions.is_installed(),
    }


def environment_of(world: World) -> dict[str, str]:
    """Return the variables of `hot_path` on this database, which has the first key pair of `bulk`."""
    headers = {"BENCH_RIGHT": authorization(0), "BENCH_WRONG": authorization(0, wrong=True)}
    others = {name: value for name, value in world.environment().items() if name != "OCTY_REQUIRE_HTTPS"}
    return {**others, **headers, "PYTHONPATH": str(TESTS)}


def _count_instructions(lab: Lab, interpreters: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return instructions a request by version and path, each on a fresh database; nothing without valgrind."""
    counts: dict[str, dict[str, float]] = {version: {} for version in interpreters}
    if not lab.sizes.instructions or not instructions.is_installed():
        return counts
    jobs = {}
    with ExitStack() as stack:
        for version, python in interpreters.items():
            for path in IN_INSTRUCTIONS:
                world = stack.enter_context(lab.world("sqlite"))
                insert_keys(world, 1)
                jobs[version, path] = instructions.Job(path, world.folder, environment_of(world), python)
        step = stack.enter_context(lab.steps("instructions", len(jobs)))
        for (version, path), found in instructions.count_all(jobs, step).items():
            counts[version][path] = found
    return counts


def _of(name: str, calls: dict[str, int], counts: dict[str, float]) -> dict[str, float]:
    found = {"calls": calls.get(name), "instructions": counts.get(name)}
    return {key: value for key, value in found.items() if value is not None}


def tables(figures: dict[str, Any]) -> list[Table]:
    without = "–" if figures["valgrind"] else _NOT_INSTALLED
    rows = [
        (
            f"{name}, Python {version}",
            shown(row["cpu_us"]),
            f"{row['calls']}" if "calls" in row else "–",
            f"{row['instructions']:,.0f}" if "instructions" in row else without if name in IN_INSTRUCTIONS else "–",
        )
        for name in HOT_PATHS
        for version, paths in figures["pythons"].items()
        if (row := paths.get(name))
    ]
    note = (
        f"{figures['rounds']} rounds of {figures['requests']:,} accepted requests and fewer refusals, SQLite, in "
        "process; CPU of the whole process until all is committed. Calls: `sys.setprofile`, without the bare app's. "
        "Instructions: valgrind's callgrind, all threads."
    )
    for version, reason in figures["left_out"].items():
        note += f" Python {version} is left out: {reason}."
    return [Table("Hot paths", ("request", "CPU µs", "calls", "instructions"), rows, note)]


def plots(figures: dict[str, Any]) -> list[Plot]:
    bars = [
        bar(f"octy, {name}, Python {version}", row["cpu_us"])
        for name in COUNTED
        for version, paths in figures["pythons"].items()
        if (row := paths.get(name))
    ]
    return [Plot("hot-paths", "CPU of an accepted request in process", "µs", bars)]
