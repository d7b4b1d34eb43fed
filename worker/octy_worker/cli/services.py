"""`octy worker`, `octy dev`, `octy demo`: what can be typed, with its help.

Here: options. Not here: the worker (`octy_worker.daemon`), the embedded stack (`octy_worker.dev`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from octy_worker.cli.context import require_database_file, variables_of
from octy_worker.cli.help_text import help_text

WORKER_HELP = help_text(
    "Run the worker and the customers' pages until told to stop.",
    "octy worker",
    "octy --env-file octy.env worker --no-pages",
    more="It carries messages to Temporal, sends mails, replaces keys, and keeps a process that serves the pages. "
    "It logs to stderr. `octy doctor` says which settings are missing.",
)
PAGES_HELP = help_text(
    "Serve the customers' pages alone, until told to stop.",
    "octy pages",
    "octy --env-file octy.env pages --log-level warning",
    more="For another host than the worker's, which then runs with --no-pages. It needs the database and the same "
    "settings; not Temporal, and no mail server.",
)
DEV_HELP = help_text(
    "Run everything on this machine, until Ctrl-C.",
    "octy dev",
    "octy --env-file .octy/env incidents list",
    more="Database, Temporal with its Web UI, worker, pages, an inbox for all mails, and an example API over HTTPS. "
    "State is kept between runs.",
)
DEMO_HELP = help_text(
    "Do the main job on real input, from nothing.",
    "octy demo",
    "octy demo --data attempts.csv --report report.json",
    more="The rows of a file are replayed as HTTPS requests, the cases answered, the new keys collected, with the real "
    "parts everywhere; then a timeline tells what happened. Exit code 0: all that the policy promises.",
)


class Level(StrEnum):
    """How much the worker logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


_Examples = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The example apps, when not run from a source checkout.")
]
_Elsewhere = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="An empty PostgreSQL database, instead of a file of its own."),
]


def worker(
    context: typer.Context,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="Serve the customers' pages too.")] = True,
    log_level: Annotated[Level, typer.Option("--log-level", help="How much is logged.")] = Level.INFO,
) -> None:
    """Run the daemon; its exit code is ours."""
    from octy_middleware.db.database import Database
    from octy_worker.log_output import log_to_stderr
    from octy_worker.settings import WorkerSettings

    settings = WorkerSettings.from_environment(variables_of(context))
    with closing(Database(settings.database_url)) as database:
        require_database_file(database)
    log_to_stderr(log_level.upper())
    from octy_worker import daemon

    raise typer.Exit(daemon.serve(settings, pages=pages))


def pages(
    context: typer.Context,
    log_level: Annotated[Level, typer.Option("--log-level", help="How much is logged.")] = Level.INFO,
) -> None:
    """Serve the pages in this process; its exit code is ours."""
    from octy_middleware.db.database import Database
    from octy_worker.log_output import log_to_stderr
    from octy_worker.settings import WorkerSettings

    settings = WorkerSettings.from_environment(variables_of(context))
    with closing(Database(settings.database_url)) as database:
        require_database_file(database)
    log_to_stderr(log_level.upper(), rate_limited=True)
    from octy_worker.pages import process

    raise typer.Exit(process.serve(settings))


def dev(
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where state, settings and logs are kept.")] = Path(
        ".octy"
    ),
    examples: _Examples = None,
    database: _Elsewhere = None,
) -> None:
    """Run the stack."""
    from rich.console import Console

    from octy_worker.dev import check_extra

    check_extra()
    from octy_worker.dev.dev_command import run_dev

    raise typer.Exit(run_dev(folder, console=Console(), examples=examples, database=database))


def demo(
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="The log-in attempts, a CSV file.")] = Path(
        "examples/data/login-attempts.csv"
    ),
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="Where the figures go.")] = Path(
        "demo-report.json"
    ),
    examples: _Examples = None,
    database: _Elsewhere = None,
) -> None:
    """Run the demonstration."""
    from rich.console import Console

    from octy_worker.dev import check_extra

    check_extra()
    from octy_worker.dev.demo import run_demo

    raise typer.Exit(run_demo(data, report, console=Console(), examples=examples, database=database))
