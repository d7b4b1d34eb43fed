"""`octy worker` and `octy pages`: options and help texts."""
# ruff: noqa: PLC0415  # each process loads only what it runs, once logging is set up

from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from octy_middleware.db.database import Database
from octy_worker.cli.context import require_database_file
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.variables import variables_of
from octy_worker.log_output import log_to_stderr
from octy_worker.settings import WorkerSettings


class Level(StrEnum):
    """How much the worker logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


_LogLevel = Annotated[Level, typer.Option("--log-level", help="How much is logged.")]


@help_page(
    "octy worker",
    "octy --env-file octy.env worker --no-pages",
    more="The worker delivers messages to Temporal, sends mails and webhooks, replaces keys, and runs a process that "
    "serves the pages. It logs to stderr. `octy doctor` lists missing settings.",
)
def worker(
    context: typer.Context,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="Also serve the customers' pages.")] = True,
    log_level: _LogLevel = Level.INFO,
) -> None:
    """Run the daemon; exit with its exit code."""
    settings = _prepare(context, log_level)
    from octy_worker import daemon

    raise typer.Exit(daemon.serve(settings, pages=pages))


@help_page(
    "octy pages",
    "octy --env-file octy.env pages --log-level warning",
    more="For a separate host; run the worker with --no-pages then. The pages need the database and the worker's "
    "settings, but neither Temporal nor a mail server.",
)
def pages(
    context: typer.Context,
    log_level: _LogLevel = Level.INFO,
) -> None:
    """Serve the pages in this process; exit with the server's exit code."""
    settings = _prepare(context, log_level, rate_limited=True)
    from octy_worker.pages import process

    raise typer.Exit(process.serve(settings))


def _prepare(context: typer.Context, level: Level, *, rate_limited: bool = False) -> WorkerSettings:
    """Return the settings; check that the database's file is there, and set up logging."""
    settings = WorkerSettings.from_environment(variables_of(context))
    with closing(Database(settings.database_url)) as database:
        require_database_file(database)
    log_to_stderr(level.upper(), rate_limited=rate_limited)
    return settings
