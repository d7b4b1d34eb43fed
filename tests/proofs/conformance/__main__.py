"""`python -m proofs.conformance [--write FILE] [WORD …]`: run all cells, or those that a WORD names; show the table.

The exit status is 1 when a case is neither as the table says nor as a known difference says.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from proofs.conformance import apache
from proofs.conformance.cells import ALL_CELLS, Cell
from proofs.conformance.pipeline import Report, pipeline
from proofs.conformance.table import as_markdown, as_text


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("words", nargs="*", metavar="WORD", help="run only cells with this in their names")
    options = parser.parse_args()
    words = [word.lower() for word in options.words]
    named = [cell for cell in ALL_CELLS if not words or any(word in str(cell).lower() for word in words)]
    cells = [cell for cell in named if cell.server.is_installed]
    for cell in named:
        if cell not in cells:
            _print(f"left out: {cell} (needs {apache.NEEDS})")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="octy-conformance-", ignore_cleanup_errors=True) as folder:
        reports = _run(Path(folder), cells)
    wrong = {(report.cell, title) for report in reports for title in report.wrong}
    _print(f"\n{as_text(cells, wrong)}\n")
    sent = sum(len(report.cases) for report in reports)
    _print(f"octy: {sent} cases in {len(reports)} cells, {len(wrong)} red, {time.monotonic() - began:.0f} s")
    if options.write and (words or cells != named):
        _print("not written: something was left out")
    elif options.write:
        options.write.write_text(as_markdown(wrong), encoding="utf-8")
    return 1 if any(report.faults for report in reports) else 0


def _run(folder: Path, cells: list[Cell]) -> list[Report]:
    reports = []
    with pipeline(folder, cells) as runs:
        for number, cell in enumerate(cells, 1):
            report = runs.report(cell)
            reports.append(report)
            state = f"{len(report.faults)} RED" if report.faults else f"{len(report.cases)} cases ✓"
            _print(f"{number:>3}/{len(cells)}  {cell}: {state}")
            for fault in report.faults:
                _print(f"       {fault}")
    return reports


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
