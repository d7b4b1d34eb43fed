"""`octy incidents reconcile`: options, help text and the report of a run."""

import asyncio
from typing import Annotated

import typer
from temporalio.service import RPCError

from octy_middleware.db.database import Database
from octy_middleware.domain.installation import installation_id
from octy_middleware.settings import BaseSettings
from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import print_result
from octy_worker.cli.variables import variables_of
from octy_worker.errors import RefusedError, UnavailableError
from octy_worker.maintenance.reconciliation.run import Findings, Reconciliation
from octy_worker.maintenance.reconciliation.workflows import WorkflowLookup
from octy_worker.maintenance.restored.histories import Histories
from octy_worker.settings import TemporalAccess, Time, WorkerSettings
from octy_worker.staff.audit import record
from octy_worker.temporal.access import open_client
from octy_worker.temporal.client import main_queue

_WORDS = {
    "checked": "open incidents, regenerations and notices checked",
    "restarted": "workflows were missing in Temporal",
    "resent": "workflows had missed a message",
    "terminated": "workflows ran although the database has closed their subject",
    "unknown": "workflows run without a row in the database",
    "temporal_ahead": "rows are missing or older than in Temporal: a backup was restored; see `octy db restored`",
    "delayed_mails": "mails were not accepted by the mail server for an hour",
    "dead_letters": "messages failed for good; see `octy outbox list --dead-letters`",
}
RECONCILE_JSON = f"dry_run, {', '.join(_WORDS)}"


@help_page(
    "octy incidents reconcile --dry-run",
    "octy incidents reconcile --json",
    more="Workers do it once an hour; run it after Temporal lost its state. Open incidents, regenerations and notices "
    "are started again, with their deadlines, answers and keys; no mail is sent twice. Workflows of closed ones are "
    "ended. After a backup was restored, run `octy db restored` first. Exit code 1: a dry run found differences, or "
    "Temporal has workflows that the database does not know.",
    json=RECONCILE_JSON,
)
def reconcile(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run it, or show what it would do."""
    place, who = temporal_place(context), staff_actor(context, None)
    with open_database(context) as database:
        found = asyncio.run(_run(database, place, notice_ttl=_notice_ttl(context), dry=dry_run))
    if found is None:
        raise RefusedError("a worker is running a reconciliation now", "try again in a minute")
    if found.differences and not dry_run:
        record("reconciled", who, found=str(found))
    print_result({"dry_run": dry_run, **found.counts}, _lines(found, dry_run), as_json=as_json)
    raise typer.Exit(
        ExitCode.FAILED if found.unknown or found.temporal_ahead or (dry_run and found.differences) else ExitCode.OK
    )


def _notice_ttl(context: typer.Context) -> float:
    """Return for how long a notice's mails are tried; the default is the worker's."""

    class _Settings(BaseSettings):
        incident_close_after: Time = WorkerSettings.model_fields["incident_close_after"].default

    return _Settings.from_environment(variables_of(context)).incident_close_after


async def _run(database: Database, place: TemporalAccess, *, notice_ttl: float, dry: bool) -> Findings | None:
    installation = installation_id(database)
    client = await open_client(place)
    run = Reconciliation(
        database,
        WorkflowLookup(client, main_queue(place, installation), installation),
        Histories(client, installation),
        now,
        installation=installation,
        notice_ttl=notice_ttl,
        dry_run=dry,
    )
    try:
        return await run.run()
    except RPCError as error:
        raise UnavailableError(f"Temporal: {error.message}", "run `octy doctor`") from None


def _lines(found: Findings, dry_run: bool) -> list[str]:
    counts = [f"{count:>9,}  {_WORDS[name]}" for name, count in found.counts.items() if count]
    if not found.differences:
        return ["No differences found.", *counts]
    if dry_run:
        return ["Nothing was changed. Without --dry-run these differences are repaired.", *counts]
    return ["Repaired: missing workflows are started again, and those of closed subjects are ended.", *counts]
