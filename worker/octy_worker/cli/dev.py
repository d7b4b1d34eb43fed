"""`octy dev` and `octy demo`: options and help texts."""
# ruff: noqa: PLC0415  # what `check_extra` looks for is imported after it

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from octy_worker.cli.lazy_command import help_page
from octy_worker.dev import check_extra

_Examples = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="The folder of the example apps, if not run from a source checkout."),
]
_Database = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="An empty PostgreSQL database instead of a SQLite file."),
]


@help_page(
    "octy dev",
    "octy --env-file .octy/env incidents list",
    more="It starts a database, Temporal with its Web UI, the worker, the pages, an inbox for all mails and an example "
    "API over HTTPS. Data is kept between runs.",
)
def dev(
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder for data, settings and logs.")] = Path(
        ".octy"
    ),
    examples: _Examples = None,
    database: _Database = None,
) -> None:
    """Run the stack."""
    check_extra()
    from octy_worker.dev.dev_command import run_dev

    raise typer.Exit(run_dev(folder, console=Console(), examples=examples, database=database))


@help_page(
    "octy demo",
    "octy demo --data attempts.csv --report report.json",
    more="It replays the rows of a file as HTTPS requests, answers the incidents and collects the new keys, with the "
    "real components; then it prints a timeline. Exit code 0: the results are what the policy demands.",
)
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
    check_extra()
    from octy_worker.dev.demo import run_demo

    raise typer.Exit(run_demo(data, report, console=Console(), examples=examples, database=database))
