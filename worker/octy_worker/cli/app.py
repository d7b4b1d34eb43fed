"""The `octy` command as a whole: its groups, and the options that stand before them.

Here: assembly. Not here: any command. No module that is loaded for `octy --help` imports SQLAlchemy, pydantic or
temporalio: they take over a second on a small machine.
"""

from pathlib import Path
from typing import Annotated

import typer

from octy_worker.cli import (
    accounts,
    adopting,
    bulk_deciding,
    finding,
    importing,
    incident_orders,
    incidents,
    keys,
    mail,
    outbox,
    pruning,
    reconciling,
    restoring,
    services,
    temporal,
    upkeep,
    webhooks,
)
from octy_worker.cli.frame import Frame
from octy_worker.cli.surroundings import gather
from octy_worker.cli.teaching import OPERATORS, STAFF, VISITORS, exit_codes, teach

app = typer.Typer(
    name="octy",
    cls=Frame,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they would show local variables, and with them secrets
    help=teach(
        "API keys under watch: accounts and their keys, cases of repeated failures, and the worker that acts on them.",
        "octy dev                          the whole stack on this machine",
        "octy secrets --out octy.env       fresh keys for a new installation",
        "octy --env-file octy.env doctor   what is missing, and what to do",
        "octy incidents list               who waits for an answer",
    ),
    epilog=exit_codes(),
)
app.command("find", help=finding.FIND_HELP, rich_help_panel=STAFF)(finding.find)
app.add_typer(accounts.app, name="accounts", rich_help_panel=STAFF)
incidents.app.command("extend", help=incident_orders.EXTEND_HELP)(incident_orders.extend)
incidents.app.command("resend", help=incident_orders.RESEND_HELP)(incident_orders.resend)
incidents.app.command("change", help=incident_orders.CHANGE_HELP)(incident_orders.change)
incidents.app.command("decide-many", help=bulk_deciding.DECIDE_MANY_HELP)(bulk_deciding.decide_many)
incidents.app.command("held", help=bulk_deciding.HELD_HELP)(bulk_deciding.held)
incidents.app.command("release", help=bulk_deciding.RELEASE_HELP)(bulk_deciding.release)
incidents.app.command("reconcile", help=reconciling.RECONCILE_HELP)(reconciling.reconcile)
app.add_typer(incidents.app, name="incidents", rich_help_panel=STAFF)
keys.app.command("import", help=importing.IMPORT_HELP)(importing.import_pairs)
app.add_typer(keys.app, name="keys", rich_help_panel=STAFF)
app.add_typer(outbox.app, name="outbox", rich_help_panel=STAFF)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=STAFF)
app.command("worker", help=services.WORKER_HELP, rich_help_panel=OPERATORS)(services.worker)
app.command("pages", help=services.PAGES_HELP, rich_help_panel=OPERATORS)(services.pages)
app.command("codec-server", help=temporal.CODEC_HELP, rich_help_panel=OPERATORS)(temporal.codec_server)
app.add_typer(mail.app, name="mail", rich_help_panel=OPERATORS)
app.command("doctor", help=upkeep.DOCTOR_HELP, rich_help_panel=OPERATORS)(upkeep.doctor)
app.command("secrets", help=upkeep.SECRETS_HELP, rich_help_panel=OPERATORS)(upkeep.secrets)
upkeep.database.command("prune", help=pruning.PRUNE_HELP)(pruning.prune)
upkeep.database.command("adopt", help=adopting.ADOPT_HELP)(adopting.adopt)
upkeep.database.command("restored", help=restoring.RESTORED_HELP)(restoring.restored)
app.add_typer(upkeep.database, name="db", rich_help_panel=OPERATORS)
app.add_typer(temporal.app, name="temporal", rich_help_panel=OPERATORS)
app.command("dev", help=services.DEV_HELP, rich_help_panel=VISITORS)(services.dev)
app.command("demo", help=services.DEMO_HELP, rich_help_panel=VISITORS)(services.demo)


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
            help="The store: sqlite:///FILE or postgresql://USER@HOST/NAME. Wins over OCTY_DATABASE_URL.",
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Read OCTY_* settings from lines of NAME=value, as `octy secrets` prints and `octy dev` keeps them. "
            "They win over the environment's.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001  # acts on its own
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Gather the settings for the command that follows."""
    context.obj = gather(database, env_file)
