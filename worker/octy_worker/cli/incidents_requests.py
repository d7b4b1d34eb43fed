"""`octy incidents extend`, `resend` and `change`: options and help texts."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import now, open_database, staff_actor, temporal_place
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import Actor, AsJson, Leaked, Reason, RequestOnly
from octy_worker.cli.output import print_json, print_lines, print_staff_request, printing_result
from octy_worker.errors import RefusedError

if TYPE_CHECKING:
    from octy_middleware.db.database import Database
    from octy_workflows.staff_requests import StaffResend

_Incident = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id, or a unique prefix of it.")]
_RequestId = Annotated[str | None, typer.Option("--request-id", help="Repeat this request.", show_default=False)]
_Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the worker's response.")]

EXTEND_JSON = "incident_id, request_id, days, actor, staff_at, close_at"
RESEND_JSON = "incident_id, request_id, actor, mail, end"
CHANGE_JSON = "incident_id, change_id, answer, leaked, actor, repeated, closed, withdrawn, ordered"

EXTEND_HELP = help_text(
    "Extend the time for the customer's answer.",
    "octy incidents extend 0199f2c4 --days 7 --reason 'on holiday until Monday'",
    more="The incident's deadline and the notification of staff move by this many days; an incident that needs staff "
    "because nobody answered waits again. At most 90 days in total. Refused once there is an answer; the refusal is "
    "recorded in the incident. The link in the mail works as long as the incident is open. A worker must be running.",
    json=EXTEND_JSON,
)
RESEND_HELP = help_text(
    "Send a mail of an incident again.",
    "octy incidents resend 0199f2c4 --reason 'address corrected'",
    "octy incidents resend 0199f2c4 --kind alert --reason 'deleted by mistake'",
    more="Without --kind it is the last mail. It goes to the account's current security address, within the daily "
    "limit. While new keys are not collected, their link is renewed and sent. If the incident needs staff because a "
    "mail was rejected for good, a mail that is sent ends that. A worker must be running.",
    json=RESEND_JSON,
)
CHANGE_HELP = help_text(
    "Change the answer of an incident.",
    "octy incidents change 0199f2c4 dismiss --reason 'they found their own script'",
    "octy incidents change 0199f2c4 regenerate --leaked --reason 'seen in a public repo'",
    more="To dismiss: uncollected new keys are withdrawn, and the old key pair stays valid. To regenerate: an open "
    "incident continues with the new answer; for a closed one new keys are ordered, and its quiet time ends. With "
    "--leaked the old key pair is revoked at once. Refused if the customer has collected the new keys, or if a "
    "reported leak would be dismissed; the refusal is recorded in the incident. No worker is needed.",
    json=CHANGE_JSON,
)


class Kind(StrEnum):
    """Which mail is sent again; values of `octy_workflows.messages.MailKind`, which is slow to load."""

    ALERT = "alert"
    REMINDER = "reminder"
    NEW_KEYS = "new_keys"


class NewAnswer(StrEnum):
    """The new answer."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


def extend(
    context: typer.Context,
    *,
    incident: _Incident,
    days: Annotated[int, typer.Option("--days", help="By how many days.")],
    reason: Reason,
    actor: Actor = None,
    request_id: _RequestId = None,
    timeout: _Timeout = 20.0,
    request_only: RequestOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the extension to the incident's workflow, and print the new deadlines."""
    from octy_middleware.clock import utc, uuid7
    from octy_worker.formatting import format_time
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff import decisions
    from octy_workflows.staff_requests import StaffExtension

    who = staff_actor(context, actor)
    request = StaffExtension(days, who, reason, request_id or uuid7(now()))
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, incident)
        if request_only:
            decisions.save_only(database, incident_id, request)
            print_staff_request(request.request_id, "extend", as_json=as_json)
            return
        extended = decisions.extend(database, temporal_place(context), incident_id, request, timeout=timeout)
    staff_at, close_at = utc(extended.staff_at), utc(extended.close_at)
    with printing_result(f"the incident's deadline is {format_time(close_at)}"):
        if as_json:
            ids = {"incident_id": incident_id, "request_id": request.request_id}
            print_json({**ids, "days": days, "actor": who, "staff_at": staff_at, "close_at": close_at})
            return
        print_lines(
            f"The incident is closed on {format_time(close_at)}, unless it is answered before.",
            f"Staff is notified on {format_time(staff_at)} if there is no answer.",
        )


def resend(
    context: typer.Context,
    *,
    incident: _Incident,
    reason: Reason,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Which mail. Default: the last one.", show_default=False)
    ] = None,
    actor: Actor = None,
    request_id: _RequestId = None,
    timeout: _Timeout = 20.0,
    request_only: RequestOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the request to the workflow of the mail, and print the result."""
    from octy_middleware.clock import uuid7
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff import decisions
    from octy_workflows.staff_requests import StaffResend

    who = staff_actor(context, actor)
    request = StaffResend(who, reason, "" if kind in (None, Kind.NEW_KEYS) else str(kind), request_id or uuid7(now()))
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, incident)
        regeneration_id = _keys_to_send(database, incident_id, kind)
        if request_only:
            decisions.save_only(database, incident_id, request, regeneration_id)
            print_staff_request(request.request_id, "resend", as_json=as_json)
            return
        place = temporal_place(context)
        if regeneration_id is not None:
            number = decisions.resend_keys(database, place, incident_id, regeneration_id, request, timeout=timeout)
            mail, end = f"new_keys-{number}", "ordered"
        else:
            resent = decisions.resend(database, place, incident_id, request, timeout=timeout)
            mail, end = resent.mail, resent.state
    _print_resent(incident_id, request, mail, end, as_json=as_json)


def _keys_to_send(database: "Database", incident_id: str, kind: Kind | None) -> str | None:
    """Return the regeneration whose mail is meant; None when it is another mail."""
    from octy_worker.reports.queries import show_incident

    if kind not in (None, Kind.NEW_KEYS):
        return None
    with database.read_session() as session:
        new = show_incident(session, incident_id).regeneration
    if new is not None and new.collected_at is None and new.finished_at is None:
        return new.id
    if kind is Kind.NEW_KEYS:
        raise RefusedError("this incident has no uncollected new keys; nothing was sent")
    return None


_RESULTS = {
    "sent": "was sent.",
    "ordered": "will be sent; older links no longer work.",
    "failed": "was rejected by the mail server for good. `octy incidents show` has the error; contact the customer "
    "another way.",
    "skipped": "was withheld: the account's daily limit of security mails is reached. Try again tomorrow.",
}


def _print_resent(incident_id: str, request: "StaffResend", mail: str, end: str, *, as_json: bool) -> None:
    with printing_result(f"mail {mail} {_RESULTS[end]}"):
        if as_json:
            ids = {"incident_id": incident_id, "request_id": request.request_id}
            print_json({**ids, "actor": request.actor, "mail": mail, "end": end})
        else:
            print_lines(f"Mail {mail} {_RESULTS[end]}")
    if end in ("failed", "skipped"):
        raise RefusedError(f"mail {mail} was not sent: {end}")


def change(
    context: typer.Context,
    *,
    incident: _Incident,
    answer: Annotated[NewAnswer, typer.Argument(help="The new answer.")],
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    change_id: Annotated[
        str | None, typer.Option("--change-id", help="Repeat this change.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change it in SQL, which notifies the incident's workflow."""
    from octy_middleware.clock import uuid7
    from octy_middleware.states import Answer
    from octy_worker.cli.views.incidents import amendment_lines
    from octy_worker.reports.queries import find_incident
    from octy_worker.staff.amendments import Amendment, amend

    who = staff_actor(context, actor)
    new_answer = Answer.NOT_US if answer is NewAnswer.REGENERATE else Answer.IT_WAS_US
    amendment = Amendment(new_answer, leaked, who, reason, change_id or uuid7(now()))
    with open_database(context) as database:
        with database.read_session() as session:
            incident_id = find_incident(session, incident)
        result = amend(database, incident_id, amendment, now())
    with printing_result(f"the answer is now {answer}"):
        if as_json:
            ids = {"incident_id": incident_id, "change_id": amendment.change_id, "answer": str(answer)}
            done = {"repeated": result.repeated, "closed": result.closed}
            rest = {"withdrawn": result.withdrawn, "ordered": result.ordered}
            print_json({**ids, "leaked": leaked, "actor": who, **done, **rest})
            return
        print_lines(
            f"The answer is now {answer}{', leaked' if leaked else ''}, by {who}.",
            *amendment_lines(result, leaked=leaked),
            f"To see its progress: octy incidents show {incident_id}",
        )
