"""`octy incidents`: what can be typed, with its help.

Here: options and the order of steps. Not here: SQL (`reports`), Temporal (`deciding`), tables (`views`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import AccountFilter, Actor, AsJson, Leaked, Limit, ListPage, OrderOnly, PageNumber, Reason
from octy_worker.cli.output import (
    print_json,
    print_json_line,
    print_lines,
    print_list,
    print_omitted,
    print_page,
    print_staff_order,
    printing_result,
)
from octy_worker.errors import RefusedError

if TYPE_CHECKING:
    from octy_middleware.db.database import Database

app = typer.Typer(no_args_is_help=True, help="Cases: twenty or more failures in a row, and what became of them.")

_Case = Annotated[str, typer.Argument(metavar="CASE", help="The case's id, or a beginning of it that is unique.")]

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
    """What staff can decide; the words of `octy_workflows.messages.Choice`, which would load too much here."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


@app.command(
    "list",
    help=help_text(
        "List cases, newest first: the open ones, or all.",
        "octy incidents list",
        "octy incidents list --all --account acme",
        json=LIST_JSON,
    ),
)
def list_some(
    context: typer.Context,
    *,
    closed: Annotated[bool, typer.Option("--all/--open", help="Closed cases too, or open ones only.")] = False,
    account: AccountFilter = None,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line a case."""
    from octy_middleware.db.models import Incident
    from octy_worker.cli.views import incidents as view
    from octy_worker.reports.queries import IS_OPEN, account_of, count_rows, list_incidents

    part = ListPage(limit, page)
    with open_database(context) as database, database.read_session() as session:
        which: list[Any] = [] if closed else [IS_OPEN]
        which += [Incident.account_id == account_of(session, account).id] if account else []
        found = list_incidents(session, *which, limit=part.most, offset=part.offset)
        total = count_rows(session, Incident, *which)
    empty = "There are no cases." if closed else "There are no open cases. --all shows closed ones too."
    print_list("incidents", found, total, part, view.list_table, empty=empty, as_json=as_json)


@app.command(
    "show",
    help=help_text(
        "Show one case: what happened, when, from where, the answer, the mails, and its timeline.",
        "octy incidents show 0199f2c4-7d1e",
        "octy incidents show 0199f2c4 --follow",
        more="--follow then prints each new line of the timeline until the case is closed or you press Ctrl-C: exit "
        "code 0 either way. With --json it prints the timeline's lines only, each an object on a line of its own.",
        json=SHOW_JSON,
    ),
)
def show_one(
    context: typer.Context,
    case: _Case,
    as_json: AsJson = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what happens, until the case is closed.")
    ] = False,
) -> None:
    """Show everything about one case, and by option what happens next."""
    from octy_worker.cli.views import incidents as view
    from octy_worker.reports.queries import find_incident, show_incident

    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, case)
            report = show_incident(session, incident_id)
        if as_json and not follow:
            print_json(report)
        elif not as_json:
            print_page(*view.page(report))
            late_uses = ("uses of retired keys", len(report.late_uses), report.late_uses_total)
            print_omitted(late_uses, to_see_all="`octy keys show PUBLIC_KEY --limit 0` shows all of a key")
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
            print_lines(f"The case is closed: {closed_as}.")


@app.command(
    help=help_text(
        "Decide a case for the customer: regenerate or dismiss.",
        "octy incidents decide 0199f2c4 regenerate --leaked --reason 'by phone'",
        "octy incidents decide 0199f2c4 dismiss --reason 'their load test'",
        more="regenerate: new keys are made and sent; the old pair ends after its overlap, or at once with --leaked. "
        "dismiss: a false alarm; the streaks start at zero. The first answer stands: when the customer or a colleague "
        "was faster, this is refused with the reason, and the refusal is noted in the case. A worker must be running. "
        "Repeating a command with its --decision-id is harmless.",
        json=DECIDE_JSON,
    )
)
def decide(
    context: typer.Context,
    *,
    case: _Case,
    decision: Annotated[Decision, typer.Argument(help="What is to be done.")],
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    decision_id: Annotated[
        str | None, typer.Option("--decision-id", help="Repeat this decision.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the worker's answer.")] = 20.0,
    order_only: OrderOnly = False,
    as_json: AsJson = False,
) -> None:
    """Ask the case's workflow, and tell what it said."""
    from octy_middleware.clock import uuid7
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff import decisions
    from octy_workflows.staff_requests import StaffDecision

    who = staff_actor(context, actor)
    said = StaffDecision(decision, who, reason, leaked, decision_id or uuid7(now()))
    refusal: RefusedError | None = None
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, case)
        if order_only:
            decisions.write_only(database, incident_id, said)
            print_staff_order(said.decision_id, "decide", as_json=as_json)
            return
        try:
            decisions.decide(database, temporal_place(context), incident_id, said, timeout=timeout)
        except RefusedError as error:
            refusal = error
    with printing_result(f"refused: {refusal}" if refusal else f"the decision {decision} is taken"):
        if as_json:
            ids = {"incident_id": incident_id, "decision_id": said.decision_id}
            told = {"decision": decision, "leaked": leaked, "actor": who}
            print_json({**ids, **told, "accepted": refusal is None, "why": str(refusal) if refusal else ""})
        elif refusal is None:
            print_lines(
                f"Decided: {decision}{', the secret leaked' if leaked else ''}, by {who}.",
                "New keys are on their way to the customer." if decision is Decision.REGENERATE else "The case closes.",
                f"To follow it: octy incidents show {incident_id}",
            )
    if refusal is not None:
        raise refusal
