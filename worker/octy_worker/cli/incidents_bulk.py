"""`octy incidents decide-many`, `held` and `release`, for many incidents with one cause: options and help texts."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.help_text import help_text
from octy_worker.cli.incidents import Decision
from octy_worker.cli.options import Actor, AsJson, Leaked, Reason
from octy_worker.cli.output import confirm, print_json, print_lines, print_note, printing_result
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octy_middleware.db.database import Database
    from octy_worker.staff.bulk_decisions import DecisionResult

DECIDE_MANY_JSON = (
    "batch_id, decision, actor, results[incident_id, end: decided | refused | unavailable | not_tried, why]"
)
HELD_JSON = "held, evidence, accounts, began_at, ends_at, unsent, oldest_unsent_seconds"
RELEASE_JSON = "id, actor, released_at"

DECIDE_MANY_HELP = help_text(
    "Decide many incidents that have one cause.",
    "octy incidents decide-many dismiss --all-open --since 2026-01-09T14:00Z --reason 'our wrong release'",
    "octy incidents decide-many regenerate 0199f2c4 0199f2c5 --reason 'by phone' --yes",
    more="Each incident is decided as by `octy incidents decide`, one after the other, and gets a line with the "
    "result. One that is closed or answered is refused; the others continue. If Temporal or the worker is not "
    "available, the rest is not tried. Repeat the command with its --batch-id: no incident is decided twice. A worker "
    "must be running.",
    json=DECIDE_MANY_JSON,
)
HELD_HELP = help_text(
    "Show whether alerts to customers are held, why, until when, and how many are unsent.",
    "octy incidents held",
    json=HELD_JSON,
)
RELEASE_HELP = help_text(
    "Send held alerts now.",
    "octy incidents release --reason 'it is an attack'",
    more="They are sent within a minute. Without this command they are sent after 15 minutes at most.",
    json=RELEASE_JSON,
)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text!r} is not a time", "use the form 2026-01-09T14:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def decide_many(
    context: typer.Context,
    *,
    decision: Annotated[Decision, typer.Argument(help="What to do.")],
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
    from octy_worker.staff import decisions
    from octy_worker.staff.bulk_decisions import decide_each, decision_id_of
    from octy_workflows.staff_requests import StaffDecision

    if all_open != (since is not None) or all_open == bool(incidents):
        raise UsageError("no incidents are chosen", "give their ids, or --all-open with --since")
    who, batch = staff_actor(context, actor), batch_id or str(uuid4())
    if fault := StaffDecision(decision, who, reason, leaked, batch).error():
        raise RefusedError(fault)
    results = list["DecisionResult"]()
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


def _end(results: "Sequence[DecisionResult]", batch: str) -> None:
    from octy_worker.staff.bulk_decisions import DecisionStatus

    ends = {result.end for result in results}
    if DecisionStatus.UNAVAILABLE in ends:
        raise UnavailableError(
            "not all incidents were decided", f"repeat the command with --batch-id {batch}; none is decided twice"
        )
    if DecisionStatus.REFUSED in ends:
        raise typer.Exit(ExitCode.REFUSED)


def _chosen(database: "Database", incidents: list[str], since: str | None) -> tuple[str, ...]:
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff.bulk_decisions import open_since

    with database.read_session() as session:
        if since is not None:
            return open_since(session, _time(since))
        return tuple(find_incident(session, incident) for incident in incidents)


def held(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the hold and the unsent alerts."""
    from octy_worker.formatting import format_duration, format_time
    from octy_worker.mail.alert_hold import current_hold
    from octy_worker.mail.unsent import unsent_alerts

    with open_database(context) as database, database.read_session() as session:
        hold, unsent = current_hold(session, now()), unsent_alerts(session, now())
    if as_json:
        facts = {name: getattr(hold, name, None) for name in ("evidence", "accounts", "began_at", "ends_at")}
        print_json({"held": hold is not None, **facts, "unsent": unsent.count, "oldest_unsent_seconds": unsent.oldest})
        return
    if hold is None:
        print_lines("Alerts are not held.")
    else:
        why = hold.evidence.replace("_", " ")
        print_lines(
            f"Alerts are held until {format_time(hold.ends_at)}: {why}, {hold.accounts} accounts.",
            "To send them now: octy incidents release --reason …",
        )
    print_lines(
        f"Unsent alerts: {unsent.count}"
        + (f", the oldest for {format_duration(unsent.oldest)}." if unsent.count else ".")
    )


def release(context: typer.Context, *, reason: Reason, actor: Actor = None, as_json: AsJson = False) -> None:
    """End the hold."""
    from octy_worker.domain.staff_requests import check_staff
    from octy_worker.mail.alert_hold import release_hold
    from octy_worker.staff.audit import record

    who = staff_actor(context, actor)
    check_staff(who, reason)
    with open_database(context) as database, database.write_session() as session:
        hold = release_hold(session, actor=who, reason=reason, now=now())
        released = None if hold is None else {"id": hold.id, "actor": who, "released_at": hold.released_at}
    if released is None:
        raise RefusedError("alerts are not held")
    record("alerts_released", who, reason=reason, hold=str(released["id"]))
    with printing_result("held alerts are sent within a minute"):
        if as_json:
            print_json(released)
        else:
            print_lines("Held alerts are sent within a minute.")
