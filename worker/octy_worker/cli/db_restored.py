"""`octy db restored`: what can be typed, with its help, and what is said of a run.

Here: options, the audit lines and the exit code. Not here: what is compared and changed (`octy_worker.maintenance.restored`).
"""
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
    from octy_worker.staff.restore import Report
    from octy_worker.temporal.access import TemporalAccess

RESTORED_JSON = (
    "dry_run, cut[public_key], updated, terminated, lost_keys[account_id, account, regeneration_id], "
    "unproven[workflow_id, why], retention_days"
)
RESTORED_HELP = help_text(
    "After a backup was restored: cut again what was cut since, as Temporal and the audit log know it.",
    "octy --env-file octy.env db restored --dry-run --reason 'backup of Sunday'",
    "octy --env-file octy.env db restored --reason 'backup of Sunday'",
    "journalctl -t octy-audit | octy db restored --audit-log - --reason 'backup of Sunday'",
    more="An older backup brings revoked key pairs back to life. This compares the database with Temporal's workflows, "
    "those that have ended too: pairs that were replaced or reported as leaked are cut again, answers and deliveries "
    "are brought as far as they were, and workflows whose rows are lost are terminated. What `octy keys revoke` cut is "
    "known to the audit log alone: give its lines with --audit-log. No pair comes back to life, and no secret: "
    "customers whose newest keys are lost are listed, for `octy keys regenerate`. Run it before apps and workers "
    "start, and again after the keys were ordered; repeats change nothing. Workflows whose payloads are not encrypted "
    "under OCTY_TEMPORAL_KEYS are only counted: whoever has access to Temporal can have written them. --trust-temporal "
    "applies them, too. Exit code 1: customers or such workflows are left, or a dry run found something.",
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done; change nothing.")] = False,
    audit_log: Annotated[
        str | None,
        typer.Option("--audit-log", metavar="FILE", help="Lines of the audit log; - reads them from stdin."),
    ] = None,
    trust_temporal: Annotated[
        bool, typer.Option("--trust-temporal", help="Apply what workflows say that prove nothing, too.")
    ] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Do a run, or list what it would do."""
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
            print_lines(*_said(found, dry_run=dry_run))
    left = found.lost_keys or found.unproven or (dry_run and not found.is_empty)
    raise typer.Exit(ExitCode.FAILED if left else ExitCode.OK)


def _lines(audit_log: str) -> list[str]:
    try:
        text = sys.stdin.read() if audit_log == "-" else Path(audit_log).read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"{audit_log} can't be read: {error.strerror}", "name the file of the audit log") from None
    return text.splitlines()


async def _run(database: "Database", place: "TemporalAccess", options: _Options) -> "Report":
    from temporalio.service import RPCError

    from octy_worker.maintenance.restored.histories import Histories
    from octy_worker.staff.audit import record
    from octy_worker.staff.restore import RestoredBackup
    from octy_worker.temporal.access import open_client

    def tell_cut(public_key: str) -> None:
        """Write a line as `octy keys revoke` does, so that the next restored backup finds it."""
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
        tell_cut=tell_cut,
        dry=options.dry,
    )
    try:
        return await run.go()
    except RPCError as error:
        raise UnavailableError(f"Temporal: {error.message}", "`octy doctor` checks everything") from None


def _installation_in_place(database: "Database") -> str:
    """Return the installation's id; refuse a copy, which must not terminate the original's workflows."""
    from octy_middleware.domain.installation import load_installation
    from octy_middleware.errors import ConfigurationError
    from octy_worker.identity import copied_message

    with database.read() as connection:
        found = load_installation(database, connection)
    if found is None:
        raise ConfigurationError("the database has no installation id yet: run `octy db upgrade`")
    if not found.is_at_recorded_location:
        wrong, _, to_do = copied_message(found).partition(" → ")
        raise RefusedError(wrong, to_do)
    return found.id


def _said(found: "Report", *, dry_run: bool) -> list[str]:
    days = (
        f"Temporal keeps what has ended for {found.retention_days:g} days; what ended before that is not known there."
    )
    if found.is_empty:
        return ["The database knows all that Temporal knows.", days]
    would = "would be " if dry_run else ""
    lines = [f"Key pair {public_key} {would or 'is '}cut again." for public_key in found.cut]
    if found.updated:
        lines.append(f"{found.updated:,} incidents and deliveries {would or 'are '}brought as far as they were.")
    if found.terminated:
        lines.append(f"{found.terminated:,} workflows without rows {would or 'are '}terminated.")
    for lost in found.lost_keys:
        if lost.account is None:
            lines.append(f"Account {lost.account_id} was opened after the backup and is lost: register it anew.")
        else:
            order = f"octy keys regenerate --account {lost.account} --reason …"
            lines.append(f"The newest keys of {lost.account} are lost. Order new ones: {order}")
    if found.unproven:
        lines.append(
            f"{len(found.unproven):,} workflows prove nothing, such as {found.unproven[0].workflow_id}: "
            f"{found.unproven[0].why}. See docs/restoring.md."
        )
    return [*lines, days, *(["Nothing was changed. Without --dry-run it is done."] if dry_run else [])]
