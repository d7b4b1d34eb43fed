"""`octy db restored`: options, help text and report."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import Actor, AsJson, Reason
from octy_worker.cli.output import print_json, print_lines, printing_result
from octy_worker.errors import RefusedError, UnavailableError, UsageError

if TYPE_CHECKING:
    from octy_middleware.db.database import Database
    from octy_worker.staff.restore import RestoreReport
    from octy_worker.temporal.access import TemporalAccess

RESTORED_JSON = (
    "dry_run, cut[public_key], updated, terminated, lost_keys[account_id, account, regeneration_id], "
    "unproven[workflow_id, why], retention_days"
)
RESTORED_HELP = help_text(
    "After restoring a backup: revoke again the key pairs that were revoked since, from Temporal and the audit log.",
    "octy --env-file octy.env db restored --dry-run --reason 'backup of Sunday'",
    "octy --env-file octy.env db restored --reason 'backup of Sunday'",
    "journalctl -t octy-audit | octy db restored --audit-log - --reason 'backup of Sunday'",
    more="An older backup makes revoked key pairs valid again. This command compares the database with Temporal's open "
    "and closed workflows: key pairs that were replaced or reported as leaked are revoked again, answers and "
    "deliveries are updated, and workflows whose rows are lost are terminated. Key pairs that were revoked with `octy "
    "keys revoke` are known only to the audit log: pass it with --audit-log. Lost key pairs can't be recovered: their "
    "customers are listed, for `octy keys regenerate`. Run the command before apps and workers start, and again after "
    "the keys were ordered; repeating it is harmless. Workflows whose payloads are not encrypted under "
    "OCTY_TEMPORAL_KEYS are only counted, because anybody with access to Temporal may have started them; "
    "--trust-temporal applies them too. Exit code 1: such customers or workflows are left, or a dry run found "
    "something.",
    json=RESTORED_JSON,
)


@dataclass(frozen=True, slots=True)
class _Options:
    revoked: list[str]
    actor: str
    reason: str
    dry: bool
    trust: bool


def restored(
    context: typer.Context,
    *,
    reason: Reason,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
    audit_log: Annotated[
        str | None,
        typer.Option("--audit-log", metavar="FILE", help="The audit log; - reads it from stdin."),
    ] = None,
    trust_temporal: Annotated[
        bool, typer.Option("--trust-temporal", help="Also apply workflows whose payloads are not encrypted.")
    ] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Run it, or show what it would do."""
    from octy_worker.domain.staff_requests import check_staff
    from octy_worker.maintenance.restored.audit_log import revoked_keys
    from octy_worker.staff.audit import record

    place, who = temporal_place(context), staff_actor(context, actor)
    check_staff(who, reason)
    revoked = [] if audit_log is None else revoked_keys(_lines(audit_log))
    options = _Options(revoked, who, reason, dry=dry_run, trust=trust_temporal)
    with open_database(context) as database:
        found = asyncio.run(_run(database, place, options))
    if not dry_run:
        record("database_restored", who, reason=reason, found=found.counts, unproven=str(len(found.unproven)))
    with printing_result("the run is complete"):
        if as_json:
            print_json({"dry_run": dry_run, **vars(found)})
        else:
            print_lines(*_report_lines(found, dry_run=dry_run))
    left = found.lost_keys or found.unproven or (dry_run and not found.is_empty)
    raise typer.Exit(ExitCode.FAILED if left else ExitCode.OK)


def _lines(audit_log: str) -> list[str]:
    try:
        text = sys.stdin.read() if audit_log == "-" else Path(audit_log).read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"{audit_log} can't be read: {error.strerror}", "name the file of the audit log") from None
    return text.splitlines()


async def _run(database: "Database", place: "TemporalAccess", options: _Options) -> "RestoreReport":
    from temporalio.service import RPCError

    from octy_worker.maintenance.restored.histories import Histories
    from octy_worker.staff.audit import record
    from octy_worker.staff.restore import RestoredBackup
    from octy_worker.temporal.access import open_client

    def audit_revocation(public_key: str) -> None:
        """Write the audit line of `octy keys revoke`, so that it is found after the next restored backup."""
        record("key_revoked", options.actor, reason=options.reason, changed=True, public_key=public_key, incident=None)

    installation = _installation_in_place(database)
    histories = Histories(await open_client(place), installation, trust=options.trust)
    run = RestoredBackup(
        database,
        histories,
        now,
        actor=options.actor,
        reason=options.reason,
        revoked=options.revoked,
        tell_cut=audit_revocation,
        dry=options.dry,
    )
    try:
        return await run.go()
    except RPCError as error:
        raise UnavailableError(f"Temporal: {error.message}", "run `octy doctor`") from None


def _installation_in_place(database: "Database") -> str:
    """Return the installation's id. Raises RefusedError for a copy: it must not terminate the original's workflows."""
    from octy_middleware.domain.installation import load_installation
    from octy_middleware.errors import ConfigurationError
    from octy_worker.identity import copied_message

    with database.read() as connection:
        found = load_installation(database, connection)
    if found is None:
        raise ConfigurationError("the database has no installation id yet: run `octy db upgrade`")
    if not found.is_at_recorded_location:
        problem, _, to_do = copied_message(found).partition(" → ")
        raise RefusedError(problem, to_do)
    return found.id


def _report_lines(found: "RestoreReport", *, dry_run: bool) -> list[str]:
    days = f"Temporal keeps closed workflows for {found.retention_days:g} days; older ones could not be compared."
    if found.is_empty:
        return ["The database is as new as Temporal.", days]
    would = "would be " if dry_run else ""
    lines = [f"Key pair {public_key} {would or 'is '}revoked again." for public_key in found.cut]
    if found.updated:
        lines.append(f"{found.updated:,} incidents and deliveries {would or 'are '}updated from Temporal.")
    if found.terminated:
        lines.append(f"{found.terminated:,} workflows without rows {would or 'are '}terminated.")
    for lost in found.lost_keys:
        if lost.account is None:
            lines.append(f"Account {lost.account_id} was created after the backup and is lost: create it again.")
        else:
            order = f"octy keys regenerate --account {lost.account} --reason …"
            lines.append(f"The newest keys of {lost.account} are lost. Order new ones: {order}")
    if found.unproven:
        lines.append(
            f"{len(found.unproven):,} workflows could not be trusted, for example {found.unproven[0].workflow_id}: "
            f"{found.unproven[0].why}. See docs/restoring.md."
        )
    return [*lines, days, *(["Nothing was changed. Without --dry-run it would be."] if dry_run else [])]
