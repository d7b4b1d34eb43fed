"""`octy worker`, `octy pages`, `octy dev` and `octy demo`: options and help texts."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from octy_worker.cli.context import require_database_file, variables_of
from octy_worker.cli.help_text import help_text

WORKER_HELP = help_text(
    "Run the worker and the customers' pages until stopped.",
    "octy worker",
    "octy --env-file octy.env worker --no-pages",
    more="The worker delivers messages to Temporal, sends mails and webhooks, replaces keys, and runs a process that "
    "serves the pages. It logs to stderr. `octy doctor` lists missing settings.",
)
PAGES_HELP = help_text(
    "Serve only the customers' pages, until stopped.",
    "octy pages",
    "octy --env-file octy.env pages --log-level warning",
    more="For a separate host; run the worker with --no-pages then. The pages need the database and the worker's "
    "settings, but neither Temporal nor a mail server.",
)
DEV_HELP = help_text(
    "Run the whole stack on this machine, until Ctrl-C.",
    "octy dev",
    "octy --env-file .octy/env incidents list",
    more="It starts a database, Temporal with its Web UI, the worker, the pages, an inbox for all mails and an example "
    "API over HTTPS. Data is kept between runs.",
)
DEMO_HELP = help_text(
    "Run a demonstration on real input, from an empty installation.",
    "octy demo",
    "octy demo --data attempts.csv --report report.json",
    more="It replays the rows of a file as HTTPS requests, answers the incidents and collects the new keys, with the "
    "real components; then it prints a timeline. Exit code 0: the results are what the policy demands.",
)


class Level(StrEnum):
    """How much the worker logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


_Examples = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="The folder of the example apps, if not run from a source checkout."),
]
_Database = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="An empty PostgreSQL database instead of a SQLite file."),
]


def worker(
    context: typer.Context,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="Also serve the customers' pages.")] = True,
    log_level: Annotated[Level, typer.Option("--log-level", help="How much is logged.")] = Level.INFO,
) -> None:
    """Run the daemon; exit with its exit code."""
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
    """Serve the pages in this process; exit with the server's exit code."""
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
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder for data, settings and logs.")] = Path(
        ".octy"
    ),
    examples: _Examples = None,
    database: _Database = None,
) -> None:
    """Run the stack."""
    from rich.console import Console

    from octy_worker.dev import check_extra

    check_extra()
    from octy_worker.dev.dev_command import run_dev

    raise typer.Exit(run_dev(folder, console=Console(), examples=examples, database=database))


def demo(
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="A CSV file of login attempts.")] = Path(
        "examples/data/login-attempts.csv"
    ),
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="The file for the report.")] = Path(
        "demo-report.json"
    ),
    examples: _Examples = None,
    database: _Database = None,
) -> None:
    """Run the demonstration."""
    from rich.console import Console

    from octy_worker.dev import check_extra

    check_extra()
    from octy_worker.dev.demo import run_demo

    raise typer.Exit(run_demo(data, report, console=Console(), examples=examples, database=database))
