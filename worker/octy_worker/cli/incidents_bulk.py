"""`octy incidents decide-many`, for many incidents with one cause: options and help text."""

from collections.abc import Sequence
from typing import Annotated

import typer

from octy_worker.access.orders import check_staff
from octy_worker.access.roles import Action
from octy_worker.cli.context import open_order_desk
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Leaked, OrderId, Reason, Yes, parse_time
from octy_worker.cli.output import confirm, print_json, print_lines, print_note
from octy_worker.errors import RefusedError, UnavailableError, UsageError
from octy_worker.staff.acts import DECIDE_MANY, BulkDecision, Decision
from octy_worker.staff.json_values import from_json
from octy_worker.staff.operations import Desk
from octy_worker.staff.outputs import DecisionResult, DecisionStatus
from octy_worker.staff.queries import FIND_INCIDENT, UNANSWERED, IncidentRef, UnansweredSince
from octy_workflows.order_content import Choice

DECIDE_MANY_JSON = (
    "order_id, decision, actor, results[incident_id, end: decided | refused | unavailable | not_tried, why]"
)


@help_page(
    "octy incidents decide-many dismiss --all-open --since 2026-01-09T14:00Z --reason 'our wrong release'",
    "octy incidents decide-many regenerate 0199f2c4 0199f2c5 --reason 'by phone' --yes",
    more="Each incident is decided as by `octy incidents decide`, one after the other, and gets a line with the "
    "result. One that is closed or answered is refused; the others continue. If Temporal or the worker is not "
    "available, the rest is not tried. Repeat the command with its --order-id: no incident is decided twice. A worker "
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
    order_id: OrderId = None,
    yes: Yes = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each response.")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Decide each, and print the result."""
    if all_open != (since is not None) or all_open == bool(incidents):
        raise UsageError("name the incidents in one way", "give their ids, or --all-open with --since")
    fields = Decision(str(decision), leaked)
    if fault := fields.error():
        raise RefusedError(fault)
    with open_order_desk(context, actor, order_id) as desk:
        check_staff(desk.actor, reason)
        found = _chosen(desk, incidents or [], since)
        if found and not yes:
            print_note(f"{len(found)} incidents, from {found[0]} to {found[-1]}.")
            confirm(f"Decide {decision} for all of them?")
        results = _decide(desk, BulkDecision(fields.decision, leaked, found), reason, timeout, quiet=as_json)
        order_id, who = desk.order_id, desk.actor
    if as_json:
        print_json({"order_id": order_id, "decision": decision, "actor": who, "results": results})
    elif not found:
        print_lines("There are no unanswered incidents.")
    _end(results, order_id)


def _decide(  # what `decide_many` was given
    desk: Desk, fields: BulkDecision, reason: str, timeout: float, *, quiet: bool
) -> Sequence[DecisionResult]:
    """Order it, and print each result, as soon as the desk knows it."""
    if not fields.incidents:
        return ()
    printed: list[DecisionResult] = []

    def show(result: DecisionResult) -> None:
        printed.append(result)
        if not quiet:
            end = f"{result.end}  {result.why}".rstrip()
            print_lines(f"{len(printed)}/{len(fields.incidents)}  {result.incident_id}  {end}")

    desk.on_progress = show
    results = desk.order(DECIDE_MANY, "", fields, reason, timeout=timeout).results
    for result in results[len(printed) :]:
        show(result)
    return results


def _end(results: Sequence[DecisionResult], order_id: str) -> None:
    ends = {result.end for result in results}
    if DecisionStatus.UNAVAILABLE in ends:
        raise UnavailableError(
            "not all incidents were decided", f"repeat the command with --order-id {order_id}; none is decided twice"
        )
    if DecisionStatus.REFUSED in ends:
        raise typer.Exit(ExitCode.REFUSED)


def _chosen(desk: Desk, incidents: list[str], since: str | None) -> tuple[str, ...]:
    order = None if since is None else desk.find_order()
    if order is not None and order.action is Action.DECIDE_MANY:  # those that were open then
        return from_json(BulkDecision, order.fields).incidents
    if since is not None:
        return desk.read(UNANSWERED, UnansweredSince(parse_time("--since", since))).incident_ids
    named = (desk.read(FIND_INCIDENT, IncidentRef(incident)).incident_id for incident in incidents)
    return tuple(dict.fromkeys(named))
