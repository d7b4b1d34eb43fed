"""`octy demo`: replays log-in attempts against the embedded stack and compares the results with the policy."""

import shutil
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from rich.console import Console

from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import read_schema_version
from octy_middleware.errors import InvalidInputError, OctyError
from octy_worker.dev.demo_input import DataFileError, Row, parse
from octy_worker.dev.demo_oracle import expected_figures
from octy_worker.dev.demo_report import differences, show_figures, show_staff, show_timeline, unproven, write_report
from octy_worker.dev.demo_results import opened_incidents, timeline
from octy_worker.dev.demo_staff import audit_figures, signed_orders
from octy_worker.dev.demo_steps import run_steps
from octy_worker.dev.processes import interrupt_on_termination
from octy_worker.dev.stack import Stack

_DONE, _FAILED, _INTERRUPTED = 0, 1, 130


def run_demo(
    data: Path, report: Path, *, console: Console, examples: Path | None = None, database: str | None = None
) -> int:
    """Run the demo. Return 0 when all results are as the policy says, 1 when not, 130 on Ctrl-C.

    Raises InvalidInputError for an invalid file, and ConfigurationError for a missing tool, before anything is started.
    An external `database` must be empty, because the demo counts all that is in it.
    """
    rows = _read(data)
    if not report.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no folder {report.absolute().parent} for the report")
    if database is not None:
        _check_empty(database)
    folder, started = Path(tempfile.mkdtemp(prefix="octy-demo-")), time.monotonic()
    stack = Stack(
        folder, fixed_ports=False, examples=examples, database=database, report=lambda line: _print_step(console, line)
    )
    try:
        with interrupt_on_termination():
            problems = run_in_stack(stack, rows, report, console)
    except KeyboardInterrupt:
        _print_step(console, "Interrupted")
        shutil.rmtree(folder)
        return _INTERRUPTED
    except (OctyError, TimeoutError, httpx2.TransportError) as error:
        problems = [str(error)]
    if problems:
        console.print("\n[bold red]Some results are not as the policy says:[/]")
        for problem in problems:
            console.print(f"  {problem}", markup=False, highlight=False)
        console.print(f"Database, mails and logs are kept in {folder}", markup=False, highlight=False)
        return _FAILED
    seconds = time.monotonic() - started
    console.print(f"\n[bold green]All results are as the policy says[/], after {seconds:.1f} s.", highlight=False)
    shutil.rmtree(folder)
    return _DONE


def run_in_stack(stack: Stack, rows: tuple[Row, ...], report: Path, console: Console) -> list[str]:
    """Return the differences between the results and the policy."""
    started, start_time = time.monotonic(), datetime.now(UTC)
    with stack:
        found, problems = run_steps(stack, rows, console)
        moments = timeline(stack.database, stack.mails.messages())
        orders = signed_orders(stack.database, opened_incidents(stack.database), stack.env["OCTY_STAFF_CA_KEYS"])
        audit = audit_figures(stack.command_environment())
    seconds = time.monotonic() - started
    write_report(report, found, seconds, orders, audit)
    show_timeline(console, moments, start_time)
    show_figures(console, found)
    show_staff(console, orders, audit)
    problems += differences(found, expected_figures(rows))
    problems += unproven(found, orders, audit)
    console.print(f"Report: {report}", markup=False, highlight=False)
    return problems


def _check_empty(url: str) -> None:
    with closing(Database(url)) as database:
        found = read_schema_version(database)
    if found is not None:
        raise InvalidInputError(f"the database already has schema {found}. The demo needs an empty database")


def _read(data: Path) -> tuple[Row, ...]:
    try:
        return parse(data.read_bytes())
    except DataFileError as error:
        raise InvalidInputError(f"{data}: {error}") from None
    except OSError as error:
        raise InvalidInputError(f"{data}: {error.strerror}") from None


def _print_step(console: Console, line: str) -> None:
    console.print(f"· {line}", markup=False, highlight=False)
