"""Measure and compare.

`python -m proofs.benchmarks [--quick] [--only name,…] [--seed n] [--report FILE] [--write FOLDER]`.

Exit status 0 when every bench was measured, whether goals are reached or not. When a bench fails, the others go on.
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from octy_worker.dev.processes import interrupt_on_termination
from proofs.benchmarks import goals, machine
from proofs.benchmarks.document import BENCHES, documents
from proofs.benchmarks.lab import NAMES, Lab, names_among
from proofs.benchmarks.presentation import Table
from proofs.benchmarks.sizes import SIZES
from proofs.benchmarks.spread import Spread

_WIDTH = 160  # of tables that go into a file


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write."""
    options = _options(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="octy-bench-"))
    try:
        with interrupt_on_termination():
            report = _run(folder, options, console)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report["seconds"] = round(time.monotonic() - began, 1)
    report = _write_report(options.report, report)
    _show(report, console)
    if options.write:
        for name, text in documents(report).items():
            (options.write / name).write_text(text, encoding="utf-8")
        console.print(f"octy: {options.write}/benchmarks.md and its plots are written")
    console.print(f"octy: bench is done in {report['seconds']:.0f} s, {options.report} is written")
    for name, why in report["failed"].items():
        console.print(f"octy: {name} could not be measured: {why}")
    return 1 if report["failed"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="few rounds, in two minutes")
    size.add_argument("--size", choices=SIZES, help="how much of everything; full by default")
    for name, known in (("--only", BENCHES), ("--databases", NAMES)):
        parser.add_argument(
            name, type=names_among(known), default=tuple(known), metavar="NAME,…", help=", ".join(known)
        )
    parser.add_argument("--seed", type=int, default=None, help="of the rounds' orders")
    parser.add_argument("--report", type=Path, default=Path("bench-report.json"), help="figures for machines")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write benchmarks.md and its plots there")
    options = parser.parse_args(arguments)
    options.size = options.size or "full"
    options.command = shlex.join(
        ["python", "-m", "proofs.benchmarks", *(sys.argv[1:] if arguments is None else arguments)]
    )
    options.seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    return options


def _run(folder: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    benches: dict[str, Any] = {}
    failed: dict[str, str] = {}
    load = round(os.getloadavg()[0], 1)  # before this run adds its own
    with Progress(*columns, console=console) as bar:
        lab = Lab(folder, SIZES[options.size], Random(options.seed), options.databases, bar)
        try:
            for name in options.only:
                began = time.monotonic()
                try:
                    figures = BENCHES[name].measure(lab)
                except Exception as error:  # noqa: BLE001  # the others' figures took their time, too
                    console.print_exception()
                    failed[name] = f"{type(error).__name__}: {error}"
                    continue
                benches[name] = {**figures, "took_seconds": round(time.monotonic() - began, 1)}
                # A run that is interrupted loses one bench, not all.
                _write_report(options.report, {"unfinished": True, "benches": benches})
        finally:
            lab.close()
    plain = json.loads(json.dumps(benches, default=asdict))
    return {
        "failed": failed,
        "date": datetime.now(UTC).date().isoformat(),
        "command": options.command,
        "size": options.size,
        "seed": options.seed,
        "load_before": load,
        "machine": machine.facts(),
        "sync_ms": Spread.of([seconds * 1e3 for seconds in machine.sync_seconds(folder, 200)]),
        "benches": plain,
        "goals": goals.results(plain),
    }


def _write_report(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write a report and return it as machines read it: spreads are plain values."""
    path.write_text(json.dumps(report, indent=2, default=asdict) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _show(report: dict[str, Any], console: Console) -> None:
    for name, figures in report["benches"].items():
        for table in BENCHES[name].tables(figures):
            _print(table, console)
    _print(goals.table(report), console)


def _print(table: Table, console: Console) -> None:
    rich = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE)
    rich.caption, rich.caption_justify, rich.caption_style = table.note, "left", ""
    for number, column in enumerate(table.columns):
        rich.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
