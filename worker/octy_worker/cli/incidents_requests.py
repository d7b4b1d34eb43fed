"""`octy incidents extend`, `resend` and `change`: what can be typed, with its help.

Here: options and the order of steps. Not here: Temporal (`deciding`), SQL (`changing`), lists and decisions
(`incidents`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import Actor, AsJson, Leaked, OrderOnly, Reason
from octy_worker.cli.output import print_json, print_lines, print_staff_order, printing_result
from octy_worker.errors import RefusedError

if TYPE_CHECKING:
    from octy_middleware.db.database import Database
    from octy_workflows.staff_requests import StaffResend

_Case = Annotated[str, typer.Argument(metavar="CASE", help="The case's id, or a beginning of it that is unique.")]
_Again = Annotated[str | None, typer.Option("--request-id", help="Repeat this order.", show_default=False)]
_Patience = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the worker's answer.")]

EXTEND_JSON = "incident_id, request_id, days, actor, staff_at, close_at"
RESEND_JSON = "incident_id, request_id, actor, mail, end"
CHANGE_JSON = "incident_id, change_id, answer, leaked, actor, repeated, closed, withdrawn, ordered"

EXTEND_HELP = help_text(
    "Wait longer for the customer's answer.",
    "octy incidents extend 0199f2c4 --days 7 --reason 'on holiday until Monday'",
    more="The end of the case moves so many days further, and so does the word to staff; a case that needs staff for "
    "want of an answer waits again. At most 90 days in all. Refused once there is an answer, with a trace in the case. "
    "The link in the mail works as long as the case is open. A worker must be running.",
    json=EXTEND_JSON,
)
RESEND_HELP = help_text(
    "Send a mail of a case again.",
    "octy incidents resend 0199f2c4 --reason 'address corrected'",
    "octy incidents resend 0199f2c4 --kind alert --reason 'deleted by mistake'",
    more="Without --kind the mail that went out last. It goes to the security address that the account has now, under "
    "the daily cap. While new keys are on their way, the link to them is renewed and sent. When a mail was refused for "
    "good and this one is sent, the case needs staff no more. A worker must be running.",
    json=RESEND_JSON,
)
CHANGE_HELP = help_text(
    "Change the answer of a case, with a reason.",
    "octy incidents change 0199f2c4 dismiss --reason 'they found their own script'",
    "octy incidents change 0199f2c4 regenerate --leaked --reason 'seen in a public repo'",
    more="To dismiss: new keys that nobody has collected are withdrawn, and the old pair works on. To regenerate: an "
    "open case goes on so; for a closed one new keys are ordered beside it, and its quiet time ends. With --leaked the "
    "old pair is cut at once. Refused when the customer has collected the keys, or when a reported leak would be "
    "denied; with a trace in the case. No worker is needed for the change itself.",
    json=CHANGE_JSON,
)


class Kind(StrEnum):
    """Which mail is sent again; the words of `octy_workflows.messages.MailKind`, which would load too much here."""

    ALERT = "alert"
    REMINDER = "reminder"
    NEW_KEYS = "new_keys"


class Wanted(StrEnum):
    """What the answer is to be."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


def extend(
    context: typer.Context,
    *,
    case: _Case,
    days: Annotated[int, typer.Option("--days", help="How many days longer.")],
    reason: Reason,
    actor: Actor = None,
    request_id: _Again = None,
    timeout: _Patience = 20.0,
    order_only: OrderOnly = False,
    as_json: AsJson = False,
) -> None:
    """Ask the case's workflow, and tell when it ends now."""
    from octy_middleware.clock import utc, uuid7
    from octy_worker.formatting import moment
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff import decisions
    from octy_workflows.staff_requests import StaffExtension

    who = staff_actor(context, actor)
    said = StaffExtension(days, who, reason, request_id or uuid7(now()))
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, case)
        if order_only:
            decisions.write_only(database, incident_id, said)
            print_staff_order(said.request_id, "extend", as_json=as_json)
            return
        extended = decisions.extend(database, temporal_place(context), incident_id, said, timeout=timeout)
    staff_at, close_at = utc(extended.staff_at), utc(extended.close_at)
    with printing_result(f"the case ends on {moment(close_at)}"):
        if as_json:
            ids = {"incident_id": incident_id, "request_id": said.request_id}
            print_json({**ids, "days": days, "actor": who, "staff_at": staff_at, "close_at": close_at})
            return
        print_lines(
            f"The case ends on {moment(close_at)}, unless the customer answers.",
            f"Staff is told of the silence on {moment(staff_at)}.",
        )


def resend(
    context: typer.Context,
    *,
    case: _Case,
    reason: Reason,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Which mail; the last one by default.", show_default=False)
    ] = None,
    actor: Actor = None,
    request_id: _Again = None,
    timeout: _Patience = 20.0,
    order_only: OrderOnly = False,
    as_json: AsJson = False,
) -> None:
    """Ask the workflow that holds the mail, and tell what became of it."""
    from octy_middleware.clock import uuid7
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff import decisions
    from octy_workflows.staff_requests import StaffResend

    who = staff_actor(context, actor)
    said = StaffResend(who, reason, "" if kind in (None, Kind.NEW_KEYS) else str(kind), request_id or uuid7(now()))
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, case)
        regeneration_id = _keys_to_send(database, incident_id, kind)
        if order_only:
            decisions.write_only(database, incident_id, said, regeneration_id)
            print_staff_order(said.request_id, "resend", as_json=as_json)
            return
        place = temporal_place(context)
        if regeneration_id is not None:
            number = decisions.resend_keys(database, place, incident_id, regeneration_id, said, timeout=timeout)
            mail, end = f"new_keys-{number}", "ordered"
        else:
            resent = decisions.resend(database, place, incident_id, said, timeout=timeout)
            mail, end = resent.mail, resent.end
    _tell_resent(incident_id, said, mail, end, as_json=as_json)


def _keys_to_send(database: "Database", incident_id: str, kind: Kind | None) -> str | None:
    """Return the regeneration whose mail is meant: named, or the last one while new keys are on their way."""
    from octy_worker.reports.queries import show_incident

    if kind not in (None, Kind.NEW_KEYS):
        return None
    with database.read_session() as session:
        new = show_incident(session, incident_id).regeneration
    if new is not None and new.collected_at is None and new.finished_at is None:
        return new.id
    if kind is Kind.NEW_KEYS:
        raise RefusedError("no new keys wait to be collected in this case; nothing was sent")
    return None


_BECAME = {
    "sent": "was sent.",
    "ordered": "is on its way; an older link shows nothing now.",
    "failed": "was refused for good. `octy incidents show` tells why; reach the customer another way.",
    "skipped": "was withheld: the account has got its security mails for today. Try again tomorrow.",
}


def _tell_resent(incident_id: str, said: "StaffResend", mail: str, end: str, *, as_json: bool) -> None:
    with printing_result(f"mail {mail} {_BECAME[end]}"):
        if as_json:
            ids = {"incident_id": incident_id, "request_id": said.request_id}
            print_json({**ids, "actor": said.actor, "mail": mail, "end": end})
        else:
            print_lines(f"Mail {mail} {_BECAME[end]}")
    if end in ("failed", "skipped"):
        raise RefusedError(f"mail {mail} did not leave: {end}")


def change(
    context: typer.Context,
    *,
    case: _Case,
    answer: Annotated[Wanted, typer.Argument(help="What the answer is to be.")],
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    change_id: Annotated[
        str | None, typer.Option("--change-id", help="Repeat this change.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change it in SQL; the case's workflow hears of it."""
    from octy_middleware.clock import uuid7
    from octy_middleware.states import Answer
    from octy_worker.cli import changing
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff.amendments import Change

    who = staff_actor(context, actor)
    wanted = Answer.NOT_US if answer is Wanted.REGENERATE else Answer.IT_WAS_US
    wish = Change(wanted, leaked, who, reason, change_id or uuid7(now()))
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, case)
        changed = changing.change(database, incident_id, wish)
    with printing_result(f"the answer is {answer} now"):
        if as_json:
            ids = {"incident_id": incident_id, "change_id": wish.change_id, "answer": str(answer)}
            done = {"repeated": changed.repeated, "closed": changed.closed}
            rest = {"withdrawn": changed.withdrawn, "ordered": changed.ordered}
            print_json({**ids, "leaked": leaked, "actor": who, **done, **rest})
            return
        print_lines(
            f"The answer is {answer} now{', the secret leaked' if leaked else ''}, by {who}.",
            *changing.told(changed, wish),
            f"To follow it: octy incidents show {incident_id}",
        )
