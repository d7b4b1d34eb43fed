"""`octy incidents decide-many`, for many incidents with one cause: options and help text."""

from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

import typer

from octy_middleware.db.database import Database
from octy_worker.cli.context import open_database, staff_actor, temporal_place
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Leaked, Reason
from octy_worker.cli.output import confirm, print_json, print_lines, print_note
from octy_worker.cli.times import parse_time
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError
from octy_worker.reports.queries import find_incident
from octy_worker.staff import decisions
from octy_worker.staff.bulk_decisions import DecisionResult, DecisionStatus, decide_each, decision_id_of, open_since
from octy_workflows.staff_requests import Choice, StaffDecision

DECIDE_MANY_JSON = (
    "batch_id, decision, actor, results[incident_id, end: decided | refused | unavailable | not_tried, why]"
)


@help_page(
    "octy incidents decide-many dismiss --all-open --since 2026-01-09T14:00Z --reason 'our wrong release'",
    "octy incidents decide-many regenerate 0199f2c4 0199f2c5 --reason 'by phone' --yes",
    more="Each incident is decided as by `octy incidents decide`, one after the other, and gets a line with the "
    "result. One that is closed or answered is refused; the others continue. If Temporal or the worker is not "
    "available, the rest is not tried. Repeat the command with its --batch-id: no incident is decided twice. A worker "
    "must be running.",
    json=DECIDE_MANY_JSON,
)
def decide_many(
    context: typer.Context,
    *,
    decision: Annotated[Choice, typer.Argument(help="What to do.")],
    incidents: Annotated[
        list[str] | None, typer.Argument(metavar="[INCIDENT…]", help="Ids, or unique prefixes.", show_default=False)
    ] = None,
    all_open: Annotated[bool, typer.Option("--all-open", help="All unanswered incidents; needs --since.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Only incidents opened since this time, in UTC.", show_default=False
        ),
    ] = None,
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    batch_id: Annotated[str | None, typer.Option("--batch-id", help="Repeat this batch.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each response.")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Decide each, and print the result."""
    if all_open != (since is not None) or all_open == bool(incidents):
        raise UsageError("no incidents are chosen", "give their ids, or --all-open with --since")
    who, batch = staff_actor(context, actor), batch_id or str(uuid4())
    if fault := StaffDecision(decision, who, reason, leaked, batch).error():
        raise RefusedError(fault)
    results = list[DecisionResult]()
    with open_database(context) as database:
        found = _chosen(database, incidents or [], since)
        if found and not yes:
            print_note(f"{len(found)} incidents, from {found[0]} to {found[-1]}.")
            if not confirm(f"Decide {decision} for all of them?"):
                raise CommandError("cancelled, nothing was changed")

        def decide(incident_id: str) -> None:
            request = StaffDecision(decision, who, reason, leaked, decision_id_of(batch, incident_id))
            decisions.decide(database, temporal_place(context), incident_id, request, timeout=timeout)

        for result in decide_each(found, decide, refused=RefusedError, unavailable=UnavailableError):
            results.append(result)
            if not as_json:
                print_lines(f"{len(results)}/{len(found)}  {result.incident_id}  {result.end}  {result.why}".rstrip())
    if as_json:
        print_json({"batch_id": batch, "decision": decision, "actor": who, "results": results})
    elif not found:
        print_lines("There are no unanswered incidents.")
    _end(results, batch)


def _end(results: Sequence[DecisionResult], batch: str) -> None:
    ends = {result.end for result in results}
    if DecisionStatus.UNAVAILABLE in ends:
        raise UnavailableError(
            "not all incidents were decided", f"repeat the command with --batch-id {batch}; none is decided twice"
        )
    if DecisionStatus.REFUSED in ends:
        raise typer.Exit(ExitCode.REFUSED)


def _chosen(database: Database, incidents: list[str], since: str | None) -> tuple[str, ...]:
    with database.read_session() as session:
        if since is not None:
            return open_since(session, parse_time("--since", since))
        return tuple(find_incident(session, incident) for incident in incidents)
