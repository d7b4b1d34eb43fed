"""Cells run one beside another: while the cases of one run, the servers of the next are starting."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proofs.conformance.accounts import Accounts, accounts
from proofs.conformance.cases import Case, CaseResult
from proofs.conformance.cells import Cell, CellRun
from proofs.conformance.known_differences import expected

AHEAD = 4  # servers at work or starting; more would only wait for the two cores


@dataclass(frozen=True)
class Report:
    """What all cases of a cell came to, and what they should have."""

    cell: Cell
    cases: tuple[Case, ...]
    expected: dict[str, CaseResult]
    results: dict[str, CaseResult]
    log: str

    @property
    def wrong(self) -> dict[str, CaseResult]:
        """What the cases that went wrong should have come to, by title."""
        return {title: right for title, right in self.expected.items() if self.results[title] != right}

    @property
    def faults(self) -> list[str]:
        """One line for each case that went wrong, naming cell and case, and for what no case explains."""
        lines = [f"{self.cell} · {title}: {self.results[title]}, not {right}" for title, right in self.wrong.items()]
        unexplained = self.results.keys() - self.expected.keys()
        lines += [f"{self.cell} · {title}: {self.results[title]}" for title in sorted(unexplained)]
        if "Traceback" in self.log:
            lines.append(f"{self.cell} · the server's log has a traceback:\n{self.log[-3000:]}")
        return lines


@dataclass
class Pipeline:
    """Runs cells in the order given. Ask for a report at any time, from the main thread."""

    accounts: Accounts
    folder: Path
    queue: list[Cell]
    _running: dict[Cell, "Future[Report]"] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AHEAD))

    def report(self, cell: Cell) -> Report:
        """Return the report of a cell once it is there, and start some of those that come after it."""
        if cell not in self._running:
            self.queue.remove(cell)
            self._start(cell)
        while self.queue and sum(not future.done() for future in self._running.values()) < AHEAD:
            self._start(self.queue.pop(0))
        return self._running[cell].result()

    def _start(self, cell: Cell) -> None:
        run = CellRun.prepare(cell, self.accounts, self.folder / str(len(self._running)))
        run.start()
        self._running[cell] = self._threads.submit(self._run, run)

    def _run(self, run: CellRun) -> Report:
        cases = run.cell.cases(self.accounts.key_pairs)
        right = {case.title: expected(case, run.cell) for case in cases}
        return Report(run.cell, cases, right, run.run(cases, right), run.running.log())

    def close(self) -> None:
        """Wait for what runs."""
        self._threads.shutdown()


@contextmanager
def pipeline(folder: Path, cells: Iterable[Cell]) -> Iterator[Pipeline]:
    """Open a pipeline for these cells, with its files in `folder`."""
    with accounts(folder / "accounts") as made:
        opened = Pipeline(made, folder, list(cells))
        try:
            yield opened
        finally:
            opened.close()
