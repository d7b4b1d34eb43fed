"""`python -m proofs.conformance [--write FILE] [WORD …]`: run all cells, or those that a WORD names; show the table.

The exit status is 1 when a case is neither as the table says nor as a known difference says.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from proofs.conformance import apache
from proofs.conformance.cells import CELLS, DEFAULT_SETTINGS_CELLS, FURTHER_CELLS, Cell
from proofs.conformance.pipeline import Report, pipeline
from proofs.conformance.table import as_markdown, as_text, columns, legend, matrix


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("words", nargs="*", metavar="WORD", help="run only cells with this in their names")
    options = parser.parse_args()
    named = [cell for cell in (*CELLS, *DEFAULT_SETTINGS_CELLS, *FURTHER_CELLS) if _is_named(cell, options.words)]
    cells = [cell for cell in named if cell.server.is_installed]
    for cell in named:
        if cell not in cells:
            _say(f"left out: {cell} (needs {apache.NEEDS})")
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="octy-conformance-"))
    try:
        reports = _run(folder, cells)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    red = _show(reports, time.monotonic() - began)
    if options.write and not options.words and cells != named:
        _say("not written: something was left out")
    elif options.write and not options.words:
        options.write.write_text(as_markdown(red), encoding="utf-8")
    return 1 if any(report.faults for report in reports) else 0


def _is_named(cell: Cell, words: list[str]) -> bool:
    return not words or any(word.lower() in str(cell).lower() for word in words)


def _run(folder: Path, cells: list[Cell]) -> list[Report]:
    reports = []
    with pipeline(folder, cells) as line:
        for number, cell in enumerate(cells, 1):
            report = line.report(cell)
            reports.append(report)
            state = f"{len(report.faults)} RED" if report.faults else f"{len(report.cases)} cases ✓"
            _say(f"{number:>3}/{len(cells)}  {cell}: {state}")
            for fault in report.faults:
                _say(f"       {fault}")
    return reports


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _show(reports: list[Report], seconds: float) -> set[tuple[Cell, str]]:
    red = {(report.cell, title) for report in reports for title in report.red}
    rows = matrix(columns(report.cell for report in reports), red)
    _say(f"\n{as_text(rows)}\n\n{legend(rows)}\n")
    played = sum(len(report.cases) for report in reports)
    _say(f"octy: {played} cases in {len(reports)} cells, {len(red)} red, {seconds:.0f} s")
    return red


if __name__ == "__main__":
    sys.exit(main())
