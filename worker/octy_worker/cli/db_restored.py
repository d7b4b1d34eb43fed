"""`octy db restored`: options, help text and report."""

import asyncio
from typing import Annotated

import typer

from octy_worker.access.orders import check_staff
from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.files import read_log
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Reason
from octy_worker.cli.output import print_result
from octy_worker.maintenance.restored.command_log import erased_accounts, revoked_keys
from octy_worker.staff.restore import RestoreOptions, RestoreReport, repair_from_temporal

RESTORED_JSON = (
    "dry_run, cut[public_key], updated, terminated, lost_keys[account_id, account, regeneration_id], "
    "unproven[workflow_id, why], erased[account_id], not_erased[account_id, why], retention_days"
)


@help_page(
    "octy --env-file octy.env db restored --dry-run --reason 'backup of Sunday'",
    "octy --env-file octy.env db restored --reason 'backup of Sunday'",
    "journalctl -t octy-audit | octy db restored --command-log - --reason 'backup of Sunday'",
    more="An older backup makes revoked key pairs valid again. This command compares the database with Temporal's open "
    "and closed workflows: key pairs that were replaced or reported as leaked are revoked again, answers and "
    "deliveries are updated, and workflows whose rows are lost are terminated. Key pairs that were revoked with `octy "
    "keys revoke`, and accounts that were erased, are known only to the command log: pass it with --command-log. Lost "
    "key pairs can't be recovered: their customers are listed, for `octy keys regenerate`. Run the command before "
    "apps and workers start, and again after the keys were ordered; repeating it changes nothing. Workflows whose "
    "payloads are not encrypted under OCTY_TEMPORAL_KEYS are only counted, because anybody with access to Temporal "
    "may have started them; --trust-temporal applies them too. Exit code 1: such customers or workflows are left, or "
    "a dry run found something.",
    json=RESTORED_JSON,
)
def restored(
    context: typer.Context,
    *,
    reason: Reason,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
    command_log: Annotated[
        str | None,
        typer.Option(
            "--command-log", metavar="FILE", help="The system log's octy-audit lines; - reads them from stdin."
        ),
    ] = None,
    trust_temporal: Annotated[
        bool, typer.Option("--trust-temporal", help="Also apply workflows whose payloads are not encrypted.")
    ] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Run it, or show what it would do."""
    place, who = temporal_place(context), staff_actor(context, actor)
    check_staff(who, reason)
    lines = [] if command_log is None else read_log(command_log, "name the file of the command log")
    erased = erased_accounts(lines)
    options = RestoreOptions(who, reason, revoked_keys(lines), dry=dry_run, trust=trust_temporal, erased=erased)
    with open_database(context) as database:
        found = asyncio.run(repair_from_temporal(database, place, options, now))
    value = {"dry_run": dry_run, **vars(found)}
    print_result(value, _report_lines(found, dry_run=dry_run), as_json=as_json)
    left = found.lost_keys or found.unproven or found.not_erased or (dry_run and not found.is_empty)
    raise typer.Exit(ExitCode.FAILED if left else ExitCode.OK)


def _report_lines(found: RestoreReport, *, dry_run: bool) -> list[str]:
    days = f"Temporal keeps closed workflows for {found.retention_days:g} days; older ones could not be compared."
    if found.is_empty:
        return ["The database is as new as Temporal.", days]
    would = "would be " if dry_run else ""
    done = "repaired from it as far as it can be" if not dry_run else "not changed. Without --dry-run it would be"
    lines = [f"The database was compared with Temporal, and {done}."]
    lines += [f"Key pair {public_key} {would or 'is '}revoked again." for public_key in found.cut]
    if found.updated:
        lines.append(f"{found.updated:,} incidents and deliveries {would or 'are '}updated from Temporal.")
    if found.terminated:
        lines.append(f"{found.terminated:,} workflows without rows {would or 'are '}terminated.")
    lines += [f"Account {account_id} {would or 'is '}erased again." for account_id in found.erased]
    lines += [f"Account {one.account_id} was erased, and can't be again yet: {one.why}." for one in found.not_erased]
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
    return [*lines, days]
