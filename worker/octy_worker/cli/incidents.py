"""`octy incidents list`, `show` and `decide`: options and help texts."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import (
    AccountFilter,
    Actor,
    AsJson,
    Leaked,
    Limit,
    ListPage,
    PageNumber,
    Reason,
    RequestOnly,
)
from octy_worker.cli.output import (
    print_json,
    print_json_line,
    print_lines,
    print_list,
    print_omitted,
    print_page,
    print_staff_request,
    printing_result,
)
from octy_worker.errors import RefusedError

if TYPE_CHECKING:
    from octy_middleware.db.database import Database

app = typer.Typer(
    no_args_is_help=True, help="Incidents: repeated failed attempts with one key pair, and the answers to them."
)

_Incident = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id, or a unique prefix of it.")]

LIST_JSON = (
    "incidents[id, account, public_key, rule, network, length, failures, state, answer, leaked, answered_by, "
    "resolution, opened_at, closed_at], more, total"
)
SHOW_JSON = (
    "incident{as in list}, failures, request_id, first_at, answered_at, workflow_id, regeneration, "
    "plot{seconds, bins[at, count]}, "
    "sources[source, count, user_agent, last_at], source_count, sources_complete, "
    "late_uses[public_key, retired_at, used_by[source, count, user_agent, last_at]], late_uses_total, "
    "mails, timeline[at, actor, what, detail]"
)
DECIDE_JSON = "incident_id, decision_id, decision, leaked, actor, accepted, why"


class Decision(StrEnum):
    """What staff can decide; the values of `octy_workflows.messages.Choice`, which is slow to load."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


@app.command(
    "list",
    help=help_text(
        "List incidents, newest first: the open ones, or all.",
        "octy incidents list",
        "octy incidents list --all --account acme",
        json=LIST_JSON,
    ),
)
def list_some(
    context: typer.Context,
    *,
    closed: Annotated[bool, typer.Option("--all/--open", help="Closed incidents too, or only open ones.")] = False,
    account: AccountFilter = None,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line for each incident."""
    from octy_middleware.db.models import Incident
    from octy_worker.cli.views import incidents as view
    from octy_worker.reports.queries import IS_OPEN, account_of, count_rows, list_incidents

    part = ListPage(limit, page)
    with open_database(context) as database, database.read_session() as session:
        which: list[Any] = [] if closed else [IS_OPEN]
        which += [Incident.account_id == account_of(session, account).id] if account else []
        found = list_incidents(session, *which, limit=part.row_limit, offset=part.offset)
        total = count_rows(session, Incident, *which)
    empty = "There are no incidents." if closed else "There are no open incidents. --all shows closed ones too."
    print_list("incidents", found, total, part, view.list_table, empty=empty, as_json=as_json)


@app.command(
    "show",
    help=help_text(
        "Show one incident: failed attempts, their sources, the answer, mails, and the timeline.",
        "octy incidents show 0199f2c4-7d1e",
        "octy incidents show 0199f2c4 --follow",
        more="With --follow it then prints each new timeline entry until the incident is closed or you press Ctrl-C; "
        "the exit code is 0 in both cases. With --json and --follow it prints only timeline entries, one JSON object a "
        "line.",
        json=SHOW_JSON,
    ),
)
def show_one(
    context: typer.Context,
    incident: _Incident,
    as_json: AsJson = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print new timeline entries until the incident is closed.")
    ] = False,
) -> None:
    """Show one incident, and follow it if asked."""
    from octy_worker.cli.views import incidents as view
    from octy_worker.reports.queries import find_incident, show_incident

    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, incident)
            report = show_incident(session, incident_id)
        if as_json and not follow:
            print_json(report)
        elif not as_json:
            print_page(*view.page(report))
            late_uses = ("uses of retired key pairs", len(report.late_uses), report.late_uses_total)
            print_omitted(late_uses, to_see_all="`octy keys show PUBLIC_KEY --limit 0` shows all of one key pair")
        if follow:
            _follow(database, incident_id, as_json=as_json)


def _follow(database: "Database", incident_id: str, *, as_json: bool) -> None:
    from octy_worker.cli.incidents_follow import follow
    from octy_worker.cli.views import incidents as view

    with suppress(KeyboardInterrupt):  # the way to stop
        closed_as = follow(
            database, incident_id, print_json_line if as_json else view.print_timeline_line, from_start=as_json
        )
        if not as_json:
            print_lines(f"The incident is closed: {closed_as}.")


@app.command(
    help=help_text(
        "Decide an incident for the customer: regenerate or dismiss.",
        "octy incidents decide 0199f2c4 regenerate --leaked --reason 'by phone'",
        "octy incidents decide 0199f2c4 dismiss --reason 'their load test'",
        more="regenerate: a new key pair is issued and sent; the old one ends after its overlap, or at once with "
        "--leaked. dismiss: a false alarm; the failure counts restart at zero. The first answer counts: if the "
        "customer or a colleague has already answered, the command is refused, and the refusal is recorded in the "
        "incident. A worker must be running. Repeating the command with the same --decision-id decides only once.",
        json=DECIDE_JSON,
    )
)
def decide(
    context: typer.Context,
    *,
    incident: _Incident,
    decision: Annotated[Decision, typer.Argument(help="What to do.")],
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    decision_id: Annotated[
        str | None, typer.Option("--decision-id", help="Repeat this decision.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the worker's response.")] = 20.0,
    request_only: RequestOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the decision to the incident's workflow, and print its response."""
    from octy_middleware.clock import uuid7
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff import decisions
    from octy_workflows.staff_requests import StaffDecision

    who = staff_actor(context, actor)
    request = StaffDecision(decision, who, reason, leaked, decision_id or uuid7(now()))
    refusal: RefusedError | None = None
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, incident)
        if request_only:
            decisions.save_only(database, incident_id, request)
            print_staff_request(request.decision_id, "decide", as_json=as_json)
            return
        try:
            decisions.decide(database, temporal_place(context), incident_id, request, timeout=timeout)
        except RefusedError as error:
            refusal = error
    with printing_result(f"refused: {refusal}" if refusal else f"the decision {decision} is recorded"):
        if as_json:
            ids = {"incident_id": incident_id, "decision_id": request.decision_id}
            values = {"decision": decision, "leaked": leaked, "actor": who}
            print_json({**ids, **values, "accepted": refusal is None, "why": str(refusal) if refusal else ""})
        elif refusal is None:
            print_lines(
                f"Decided: {decision}{', leaked' if leaked else ''}, by {who}.",
                "A mail with a link to the new keys goes to the customer."
                if decision is Decision.REGENERATE
                else "The incident will be closed.",
                f"To see its progress: octy incidents show {incident_id}",
            )
    if refusal is not None:
        raise refusal
