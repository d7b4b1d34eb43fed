"""`octy incidents list`, `show` and `change`: options and help texts."""

import time
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import (
    AccountFilter,
    Actor,
    AsJson,
    IncidentId,
    Leaked,
    Limit,
    ListPage,
    OrderId,
    PageNumber,
    Reason,
)
from octy_worker.cli.output import (
    print_json,
    print_json_line,
    print_lines,
    print_list,
    print_omitted,
    print_page,
    print_result,
)
from octy_worker.cli.views import incidents as view
from octy_worker.reports.models import IncidentReport
from octy_worker.staff.acts import AMEND, NewAnswer
from octy_worker.staff.operations import ReadingDesk
from octy_worker.staff.queries import (
    FIND_INCIDENT,
    FOLLOW_INCIDENT,
    LIST_INCIDENTS,
    SHOW_INCIDENT,
    IncidentKey,
    IncidentRef,
    ListIncidents,
)
from octy_workflows.order_content import Choice

_POLL_INTERVAL = 1.0  # seconds between two looks for new timeline entries
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
CHANGE_JSON = "incident_id, order_id, answer, leaked, actor, closed, withdrawn, ordered"


@help_page(
    "octy incidents list",
    "octy incidents list --all --account acme",
    json=LIST_JSON,
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
    part = ListPage(limit, page)
    with open_desk(context) as desk:
        found = desk.read(LIST_INCIDENTS, ListIncidents(closed, account, part.row_limit, part.offset))
    empty = "There are no incidents." if closed else "There are no open incidents. --all shows closed ones too."
    print_list("incidents", found.rows, found.total, part, view.list_table, empty=empty, as_json=as_json)


@help_page(
    "octy incidents show 0199f2c4-7d1e",
    "octy incidents show 0199f2c4 --follow",
    more="With --follow it then prints each new timeline entry until the incident is closed or you press Ctrl-C; "
    "the exit code is 0 in both cases. With --json and --follow it prints only timeline entries, one JSON object a "
    "line.",
    json=SHOW_JSON,
)
def show_one(
    context: typer.Context,
    incident: IncidentId,
    as_json: AsJson = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print new timeline entries until the incident is closed.")
    ] = False,
) -> None:
    """Show one incident, and follow it if asked."""
    with open_desk(context) as desk:
        report = desk.read(SHOW_INCIDENT, IncidentRef(incident))
        if as_json and not follow:
            print_json(report)
        elif not as_json:
            print_page(*view.page(report))
            late_uses = ("uses of retired key pairs", len(report.late_uses), report.late_uses_total)
            print_omitted(late_uses, to_see_all="`octy keys show PUBLIC_KEY --limit 0` shows all of one key pair")
        if follow:
            _follow(desk, report, as_json=as_json)


def _follow(desk: ReadingDesk, report: IncidentReport, *, as_json: bool) -> None:
    """Print each timeline entry once until the incident is closed; as text those that its page does not have.

    A mail whose state changes (retried, sent) is a new entry.
    """
    emit = print_json_line if as_json else view.print_timeline_line
    printed = [] if as_json else list(report.timeline)
    with suppress(KeyboardInterrupt):  # the way to stop
        while True:
            found = desk.read(FOLLOW_INCIDENT, IncidentKey(report.incident.id))
            for line in found.timeline:
                if line not in printed:
                    emit(line)
                    printed.append(line)
            if found.incident.closed_at is not None:
                break
            time.sleep(_POLL_INTERVAL)
        if not as_json:
            print_lines(f"The incident is closed: {found.incident.resolution or found.incident.state}.")


@help_page(
    "octy incidents change 0199f2c4 dismiss --reason 'they found their own script'",
    "octy incidents change 0199f2c4 regenerate --leaked --reason 'seen in a public repo'",
    more="To dismiss: uncollected new keys are withdrawn, and the old key pair stays valid. To regenerate: an open "
    "incident continues with the new answer; for a closed one new keys are ordered, and its quiet time ends. With "
    "--leaked the old key pair is revoked at once. Refused if the customer has collected the new keys, or if a "
    "reported leak would be dismissed; the refusal is recorded in the incident. No worker is needed.",
    json=CHANGE_JSON,
)
def change(
    context: typer.Context,
    *,
    incident: IncidentId,
    answer: Annotated[Choice, typer.Argument(help="The new answer.")],
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Change it in SQL, which notifies the incident's workflow."""
    fields = NewAnswer(str(answer), leaked)
    with open_order_desk(context, actor, order_id) as desk:
        incident_id = desk.read(FIND_INCIDENT, IncidentRef(incident)).incident_id
        result = desk.order(AMEND, incident_id, fields, reason)
        value = {"incident_id": incident_id, "order_id": desk.order_id, **asdict(fields), "actor": desk.actor}
        who = desk.actor
    lines = [
        f"The answer is now {answer}{', leaked' if leaked else ''}, by {who}.",
        *view.amendment_lines(result, leaked=leaked),
        f"To see its progress: octy incidents show {incident_id}",
    ]
    print_result({**value, **asdict(result)}, lines, as_json=as_json)
