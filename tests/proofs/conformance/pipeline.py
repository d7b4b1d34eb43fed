"""Cells run one beside another: while the cases of one are played, the servers of the next are starting.

Here: what runs when. Not here: what a cell does (`cells`).
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proofs.conformance.accounts import Accounts, accounts
from proofs.conformance.cases import Case
from proofs.conformance.cells import CaseResult, Cell, CellRun
from proofs.conformance.expectations import expected

AHEAD = 4  # servers at work or starting; more would only wait for the two cores


@dataclass(frozen=True)
class Report:
    """What all cases of a cell came to, and what they should have."""

    cell: Cell
    cases: tuple[Case, ...]
    seen: dict[str, CaseResult]
    log: str

    @property
    def red(self) -> dict[str, CaseResult]:
        """What the cases that went wrong should have come to, by title."""
        wanted = {case.title: expected(case, self.cell) for case in self.cases}
        return {title: right for title, right in wanted.items() if self.seen[title] != right}

    @property
    def faults(self) -> list[str]:
        """One line for each case that went wrong, naming cell and case, and for what nobody asked for."""
        lines = [f"{self.cell} · {title}: {self.seen[title]}, not {right}" for title, right in self.red.items()]
        lines += [
            f"{self.cell} · {title}: {seen}" for title, seen in self.seen.items() if title.startswith("unexplained")
        ]
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
        session = CellRun.prepared(cell, self.accounts, self.folder / str(len(self._running)))
        session.start()
        self._running[cell] = self._threads.submit(self._play, session)

    def _play(self, session: CellRun) -> Report:
        cell = session.cell
        cases = cell.cases(self.accounts.key_pairs)
        seen = session.play(cases, {case.title: expected(case, cell) for case in cases})
        return Report(cell, cases, seen, session.running.log())

    def close(self) -> None:
        """Wait for what runs."""
        self._threads.shutdown()


@contextmanager
def pipeline(folder: Path, cells: Iterable[Cell]) -> Iterator[Pipeline]:
    """Open a pipeline for these cells, with its files in `folder`."""
    with accounts(folder / "accounts") as made:
        line = Pipeline(made, folder, list(cells))
        try:
            yield line
        finally:
            line.close()
