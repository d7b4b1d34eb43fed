"""What commands take: the start of `octy`, and the whole test suite as `make test` noted it for this commit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.paths import ROOT

from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, shown
from proofs.benchmarks.spread import Spread

TEST_SECONDS = ROOT / ".octy" / "test-seconds"  # the Makefile writes it: seconds, and the commit


def measure(lab: Lab) -> dict[str, Any]:
    """Run `octy --help` so many times after one that warms up the disk's cache."""
    number = lab.sizes.starts
    with lab.steps("octy --help", number + 1) as step:
        taken = []
        for _ in range(number + 1):
            taken.append(cpu_seconds([str(Path(sys.executable).with_name("octy")), "--help"]))
            step()
    return {"starts": number, "help_cpu_seconds": Spread.of(taken[1:]), **read_test_seconds(TEST_SECONDS, _commit())}


def cpu_seconds(command: list[str]) -> float:
    """Return the CPU seconds of a process and its children. Raises RuntimeError when it fails."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return used.ru_utime + used.ru_stime


def _commit() -> str:
    """Return the commit that is checked out; empty where files differ from it, or without git."""
    try:
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "" if changes.stdout else head.stdout.strip()


def read_test_seconds(file: Path, commit: str) -> dict[str, float]:
    """Return the seconds of the last whole run of `make test`; nothing if that was another commit's."""
    try:
        seconds, tested = file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return {}
    return {"test_seconds": float(seconds)} if commit and tested == commit else {}


def tables(figures: dict[str, Any]) -> list[Table]:
    rows = [("`octy --help`, CPU", shown(figures["help_cpu_seconds"], 3))]
    if "test_seconds" in figures:
        rows.append(("`make test`, all of it", f"{figures['test_seconds']:,.0f}"))
    note = f"{figures['starts']} starts of `octy`. `make test` notes its time and its commit; this run only reads it."
    return [Table("Commands", ("", "seconds"), rows, note)]


def plots(_figures: dict[str, Any]) -> list[Plot]:
    return []
