"""The `octy` command: its groups, and the options before them.

No module that is loaded for `octy --help` imports SQLAlchemy, pydantic or temporalio: they take over a second on a
small machine.
"""

from pathlib import Path
from typing import Annotated

import typer

from octy_worker.cli import (
    accounts,
    db,
    db_adopt,
    db_prune,
    db_restored,
    find,
    incidents,
    incidents_bulk,
    incidents_reconcile,
    incidents_requests,
    keys,
    keys_import,
    mail,
    outbox,
    services,
    temporal,
    webhooks,
)
from octy_worker.cli.context import load_variables
from octy_worker.cli.help_text import OPERATOR_PANEL, STAFF_PANEL, TRIAL_PANEL, exit_code_table, help_text
from octy_worker.cli.main_group import MainGroup

app = typer.Typer(
    name="octy",
    cls=MainGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they would show local variables, and with them secrets
    help=help_text(
        "Manage API keys: accounts, key pairs, incidents of repeated failed attempts, and the worker.",
        "octy dev                          run the whole stack on this machine",
        "octy secrets --out octy.env       create the keys of a new installation",
        "octy --env-file octy.env doctor   find problems and what to do about them",
        "octy incidents list               list the open incidents",
    ),
    epilog=exit_code_table(),
)
app.command("find", help=find.FIND_HELP, rich_help_panel=STAFF_PANEL)(find.find)
app.add_typer(accounts.app, name="accounts", rich_help_panel=STAFF_PANEL)
incidents.app.command("extend", help=incidents_requests.EXTEND_HELP)(incidents_requests.extend)
incidents.app.command("resend", help=incidents_requests.RESEND_HELP)(incidents_requests.resend)
incidents.app.command("change", help=incidents_requests.CHANGE_HELP)(incidents_requests.change)
incidents.app.command("decide-many", help=incidents_bulk.DECIDE_MANY_HELP)(incidents_bulk.decide_many)
incidents.app.command("held", help=incidents_bulk.HELD_HELP)(incidents_bulk.held)
incidents.app.command("release", help=incidents_bulk.RELEASE_HELP)(incidents_bulk.release)
incidents.app.command("reconcile", help=incidents_reconcile.RECONCILE_HELP)(incidents_reconcile.reconcile)
app.add_typer(incidents.app, name="incidents", rich_help_panel=STAFF_PANEL)
keys.app.command("import", help=keys_import.IMPORT_HELP)(keys_import.import_pairs)
app.add_typer(keys.app, name="keys", rich_help_panel=STAFF_PANEL)
app.add_typer(outbox.app, name="outbox", rich_help_panel=STAFF_PANEL)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=STAFF_PANEL)
app.command("worker", help=services.WORKER_HELP, rich_help_panel=OPERATOR_PANEL)(services.worker)
app.command("pages", help=services.PAGES_HELP, rich_help_panel=OPERATOR_PANEL)(services.pages)
app.command("codec-server", help=temporal.CODEC_HELP, rich_help_panel=OPERATOR_PANEL)(temporal.codec_server)
app.add_typer(mail.app, name="mail", rich_help_panel=OPERATOR_PANEL)
app.command("doctor", help=db.DOCTOR_HELP, rich_help_panel=OPERATOR_PANEL)(db.doctor)
app.command("secrets", help=db.SECRETS_HELP, rich_help_panel=OPERATOR_PANEL)(db.secrets)
db.database.command("prune", help=db_prune.PRUNE_HELP)(db_prune.prune)
db.database.command("adopt", help=db_adopt.ADOPT_HELP)(db_adopt.adopt)
db.database.command("restored", help=db_restored.RESTORED_HELP)(db_restored.restored)
app.add_typer(db.database, name="db", rich_help_panel=OPERATOR_PANEL)
app.add_typer(temporal.app, name="temporal", rich_help_panel=OPERATOR_PANEL)
app.command("dev", help=services.DEV_HELP, rich_help_panel=TRIAL_PANEL)(services.dev)
app.command("demo", help=services.DEMO_HELP, rich_help_panel=TRIAL_PANEL)(services.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"octy-middleware {version('octy-middleware')}")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="The database: sqlite:///FILE or postgresql://USER@HOST/NAME. Overrides OCTY_DATABASE_URL.",
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Read OCTY_* settings from a file of NAME=value lines, as written by `octy secrets` and `octy dev`. "
            "They override environment variables.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001  # its callback acts
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Load the settings for the command that follows."""
    context.obj = load_variables(database, env_file)
