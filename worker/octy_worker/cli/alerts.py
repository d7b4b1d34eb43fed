"""`octy incidents held` and `release`: alerts that are held because many accounts are affected at once."""

import typer

from octy_worker.cli.context import now, open_database, staff_actor
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Reason
from octy_worker.cli.output import print_json, print_lines, print_result
from octy_worker.formatting import format_duration, format_time
from octy_worker.mail.alert_hold import current_hold
from octy_worker.mail.unsent import unsent_alerts
from octy_worker.staff.alerts import release_alerts

HELD_JSON = "held, evidence, accounts, began_at, ends_at, unsent, oldest_unsent_seconds"
RELEASE_JSON = "id, actor, released_at"


@help_page("octy incidents held", json=HELD_JSON)
def held(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the hold and the unsent alerts."""
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


@help_page(
    "octy incidents release --reason 'it is an attack'",
    more="They are sent within a minute. Without this command they are sent after 15 minutes at most.",
    json=RELEASE_JSON,
)
def release(context: typer.Context, *, reason: Reason, actor: Actor = None, as_json: AsJson = False) -> None:
    """End the hold."""
    who = staff_actor(context, actor)
    with open_database(context) as database:
        released = release_alerts(database, actor=who, reason=reason, now=now())
    done = "held alerts are sent within a minute"
    print_result(done, released, ["Held alerts are sent within a minute."], as_json=as_json)
