"""One run on one database: traffic, faults, the end of all faults, waiting for the end of all work, checks."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from proofs.faults.checks import CheckResult, check
from proofs.faults.collection import collect, is_work_left
from proofs.faults.context import RunContext
from proofs.faults.customers import AccountScenario
from proofs.faults.fault_injector import FaultInjector
from proofs.faults.installation import Installation
from proofs.faults.message_forger import MessageForger
from proofs.faults.observer import Observer
from proofs.faults.options import RunOptions
from proofs.faults.secret_search import command_lines
from proofs.faults.side_scenarios import SIDE_SCENARIOS

_PROGRESS_INTERVAL = 5.0
_COMMAND_LINES_INTERVAL = 2.0
_LONGEST_WAIT = 3600.0
_LAST_WORKFLOWS = 2.0  # seconds: they end after their rows, and Temporal's list shows that a moment later


class FaultRun:
    """Runs in a folder; `database_folder` is that of the SQLite file. `report` takes lines of progress."""

    def __init__(
        self,
        options: RunOptions,
        folder: Path,
        *,
        database_folder: Path,
        small_disk: bool,
        report: Callable[[str], None],
    ) -> None:
        self._options, self._report = options, report
        self._small_disk = database_folder if small_disk else None
        self._installation = Installation(options, folder, database_folder)
        self._stop, self._deadline = threading.Event(), float("inf")
        self._begun = time.monotonic()
        self._next_progress = self._next_command_lines = 0.0

    def run(self) -> CheckResult:
        """Whatever was started has ended when this returns or raises."""
        with self._installation as installation, Observer(installation.database, installation.inbox) as observer:
            self._run = run = RunContext(self._options, installation, observer, self._remaining)
            scenarios = [scenario(run) for scenario in SIDE_SCENARIOS]
            forger = MessageForger(run)
            threads = [
                *(self._start(f"account {n}", AccountScenario(run, n).run) for n in range(self._options.accounts)),
                *(self._start(scenario.name, scenario.run) for scenario in scenarios),
                self._start("message forger", forger.run),
            ]
            FaultInjector(run, self._tick, self._small_disk).run()
            installation.restore()
            self._stop.set()
            self._deadline = time.monotonic() + self._options.end_timeout
            self._wait_for_end(threads)
            return check(collect(run, scenarios, forger))

    def _start(self, name: str, run: Callable[[threading.Event], None]) -> threading.Thread:
        """Run in a thread; an unexpected error is a finding."""

        def target() -> None:
            try:
                run(self._stop)
            except Exception as error:
                self._run.log.failures.append(f"{name} ended by {type(error).__name__}: {error}")
                raise

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    def _remaining(self) -> float:
        return max(0.0, min(self._deadline - time.monotonic(), _LONGEST_WAIT))

    def _wait_for_end(self, threads: list[threading.Thread]) -> None:
        while time.monotonic() < self._deadline:
            self._tick()
            if not any(thread.is_alive() for thread in threads) and not is_work_left(self._installation):
                break
            time.sleep(0.1)
        for thread in threads:
            thread.join(30)
        time.sleep(_LAST_WORKFLOWS)

    def _tick(self) -> None:
        """Supervise the parts, read the command lines of all processes, and report progress."""
        self._installation.supervise()
        now = time.monotonic()
        if now >= self._next_command_lines:
            self._next_command_lines = now + _COMMAND_LINES_INTERVAL
            self._run.command_lines |= command_lines()
        if now >= self._next_progress:
            self._next_progress = now + _PROGRESS_INTERVAL
            snapshot = self._run.observer.snapshot
            closed = sum(resolution is not None for _, resolution in snapshot.incidents.values())
            self._report(
                f"{self._options.database} {now - self._begun:5.0f} s: "
                f"{self._run.faults.kills}/{self._options.kills} kills, {self._run.responses.total()} requests, "
                f"{len(snapshot.incidents)} incidents ({closed} closed), "
                f"{sum(finished for _, finished in snapshot.regenerations.values())} regenerations finished"
                f"{', faults ended' if self._stop.is_set() else ''}"
            )
