"""`octy incidents held` and `release`: alerts that are held because many accounts are affected at once."""

import typer

from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, OrderId, Reason
from octy_worker.cli.output import format_time, print_json, print_lines, print_result
from octy_worker.formatting import format_duration
from octy_worker.staff.acts import RELEASE_ALERTS
from octy_worker.staff.operations import NoFields, Nothing
from octy_worker.staff.queries import HELD_ALERTS

HELD_JSON = "held, evidence, accounts, began_at, ends_at, unsent, oldest_unsent_seconds"
RELEASE_JSON = "id, actor, released_at"


@help_page("octy incidents held", json=HELD_JSON)
def held(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the hold and the unsent alerts."""
    with open_desk(context) as desk:
        found = desk.read(HELD_ALERTS, Nothing())
    if as_json:
        print_json(found)
        return
    if found.ends_at is None:
        print_lines("Alerts are not held.")
    else:
        why = str(found.evidence).replace("_", " ")
        print_lines(
            f"Alerts are held until {format_time(found.ends_at)}: {why}, {found.accounts} accounts.",
            "To send them now: octy incidents release --reason …",
        )
    oldest = f", the oldest for {format_duration(found.oldest_unsent_seconds)}." if found.unsent else "."
    print_lines(f"Unsent alerts: {found.unsent}{oldest}")


@help_page(
    "octy incidents release --reason 'it is an attack'",
    more="They are sent within a minute. Without this command they are sent after 15 minutes at most.",
    json=RELEASE_JSON,
)
def release(
    context: typer.Context, *, reason: Reason, actor: Actor = None, order_id: OrderId = None, as_json: AsJson = False
) -> None:
    """End the hold."""
    with open_order_desk(context, actor, order_id) as desk:
        released = desk.order(RELEASE_ALERTS, "", NoFields(), reason)
    print_result(released, ["Held alerts are sent within a minute."], as_json=as_json)
