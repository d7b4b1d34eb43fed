"""Play another checkout's code and this one's by turns in one run: before and after.

`python -m proofs.benchmarks.against FOLDER [--rounds n] [--seconds s] [--only NAME,…] [--seed n]`

FOLDER has the code to compare with: `git worktree add FOLDER COMMIT`. This checkout plays twice; how far the two are
apart is noise (A/A). Each side is a process (`against_side`) that uses the code of its checkout from the schema to the
load generator. It starts one uvicorn (httptools, uvloop) on each database, which stays, and waits for its turns.
Instructions, by valgrind, are counted once a side: a loaded machine hardly changes them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.paths import ROOT

from proofs.benchmarks import instructions
from proofs.benchmarks.against_side import AT_A_RATE
from proofs.benchmarks.hot_paths import IN_INSTRUCTIONS
from proofs.benchmarks.lab import NAMES, Lab, open_lab, show
from proofs.benchmarks.machine import on_one_core
from proofs.benchmarks.presentation import Table, interval_table
from proofs.benchmarks.sizes import TINY

BEFORE, AFTER, AGAIN = "before", "after", "after again (A/A)"
IN_PROCESS = "accepted, in process, sqlite"
LOADS = (
    IN_PROCESS,
    *(f"accepted, {name}" for name in NAMES),
    *(f"refused, {name}, {kind}" for name in NAMES for kind in ("one key", "a key each", "one connection", AT_A_RATE)),
)
"""By name, as `against_side` reads them: kind, database, which keys."""
INSTRUCTIONS = "instructions"
_SIDE = Path(__file__).with_name("against_side.py")
_FIGURES = (
    ("a second", "per_second", 0),
    ("CPU µs", "cpu_us", 1),
    ("p50 ms", "p50_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("accepted p50 ms", "accepted_p50_ms", 2),
    ("accepted p99 ms", "accepted_p99_ms", 2),
)


class Side:
    """The process of one checkout."""

    def __init__(self, process: subprocess.Popen[str], checkout: Path, environment: Mapping[str, str]) -> None:
        """Wait until its servers run. Raises RuntimeError when it fails, or imports other code than the checkout's."""
        self._process, self._environment = process, environment
        self._started = self._read()
        package = Path(self._started["package"])
        if not package.is_relative_to(checkout):
            raise RuntimeError(f"the code of {checkout} was to be played, not {package}")

    def instructions_of(self, path: str, folder: Path) -> instructions.Job:
        """Return how to count those of a hot path, on a fresh database of this side."""
        folder.mkdir()
        variables = self._ask(["database", str(folder)])
        return instructions.Job(path, folder, {**self._environment, **variables})

    def play(self, load: str, seconds: float) -> dict[str, float]:
        """Return the figures of one turn. The server has a core of its own while it accepts."""
        with ExitStack() as stack:
            if load.startswith("accepted") and load != IN_PROCESS:
                servers = self._started["servers"][load.split(", ")[1]]
                stack.enter_context(on_one_core(servers, others=(self._started["generator"],)))
            return self._ask([load, seconds])

    def _ask(self, question: list[Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a side ended with status {self._process.wait()}; its errors are above")
        return dict(json.loads(line))


@contextmanager
def side(checkout: Path, folder: Path, databases: tuple[str, ...]) -> Iterator[Side]:
    """Start a side; it ends with the block."""
    folder.mkdir()
    paths = [checkout / "tests", checkout, checkout / "workflows", checkout / "worker"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OCTY_", "BENCH_"))}
    # Nothing is imported from the working folder or from beside the script.
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(_SIDE), str(folder), ",".join(databases)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Side(process, checkout, environment)  # leaving the block closes its input, which ends it


def table_of_instructions(counts: Mapping[str, Mapping[str, float]]) -> Table:
    """Return instructions a request by path and side, and their ratio to `before`."""
    rows = [
        (path, *(f"{count:,.0f} ({count / sides[BEFORE]:.3f})" for count in sides.values()))
        for path, sides in counts.items()
    ]
    return Table("Instructions a request", ("", BEFORE, AFTER, AGAIN), rows, f"In parentheses: ratio to “{BEFORE}”.")


def _count(sides: Mapping[str, Side], lab: Lab) -> dict[str, dict[str, float]]:
    wanted = [(path, name) for path in IN_INSTRUCTIONS for name in sides]
    jobs = {
        (path, name): sides[name].instructions_of(path, lab.folder / f"instructions-{number}")
        for number, (path, name) in enumerate(wanted)
    }
    with lab.steps(INSTRUCTIONS, len(jobs)) as step:
        counts = instructions.count_all(jobs, step)
    return {path: {name: counts[path, name] for name in sides} for path in IN_INSTRUCTIONS}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="against", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument(
        "--only", action="append", choices=(*LOADS, INSTRUCTIONS), help="may be repeated; all by default"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    wanted = options.only or (*LOADS, INSTRUCTIONS)
    loads = [load for load in LOADS if load in wanted]
    databases = tuple(name for name in NAMES if any(name in load for load in loads)) or ("sqlite",)
    checkouts = {BEFORE: options.folder.resolve(), AFTER: ROOT, AGAIN: ROOT}
    with open_lab("against", TINY, options.seed, databases) as lab, ExitStack() as stack:
        sides = {
            name: stack.enter_context(side(checkout, lab.folder / f"side-{number}", databases))
            for number, (name, checkout) in enumerate(checkouts.items())
        }
        for load in loads:
            series = lab.play(
                load, list(sides), options.rounds, lambda name, load=load: sides[name].play(load, options.seconds)
            )
            show(interval_table(load, series, [figure for figure in _FIGURES if figure[1] in series[BEFORE]]))
        if INSTRUCTIONS in wanted and instructions.is_installed():
            show(table_of_instructions(_count(sides, lab)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
