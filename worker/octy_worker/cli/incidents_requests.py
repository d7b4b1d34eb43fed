"""`octy incidents decide`, `extend`, `resend` and `octy keys resend`: requests that a workflow answers."""

from enum import StrEnum
from typing import Annotated

import typer

from octy_middleware.clock import utc, uuid7
from octy_worker.cli.context import now, open_database, open_incident, staff_actor, temporal_place
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, IncidentId, Leaked, Reason, RequestOnly, Timeout
from octy_worker.cli.output import print_result, print_staff_request
from octy_worker.cli.views.key_delivery import resent_lines
from octy_worker.domain.staff_requests import check_staff
from octy_worker.errors import RefusedError
from octy_worker.formatting import format_time
from octy_worker.reports.key_delivery import pending_delivery
from octy_worker.staff import decisions
from octy_workflows.messages import MailKind
from octy_workflows.staff_requests import Choice, StaffDecision, StaffExtension, StaffResend

_RequestId = Annotated[str | None, typer.Option("--request-id", help="Repeat this request.", show_default=False)]

DECIDE_JSON = "incident_id, decision_id, decision, leaked, actor, accepted, why"
EXTEND_JSON = "incident_id, request_id, days, actor, staff_at, close_at"
RESEND_JSON = "incident_id, request_id, actor, mail, end"
RESEND_KEYS_JSON = (
    "account, address, next_address, takes_effect_at, request_id, actor, mail, "
    "earlier{regeneration_id, status, mail_error, link_expires_at, collected_at}"
)
_RESULTS = {
    "sent": "was sent.",
    "ordered": "will be sent; older links no longer work.",
    "failed": "was rejected by the mail server for good. `octy incidents show` has the error; contact the customer "
    "another way.",
    "skipped": "was withheld: the account's daily limit of security mails is reached. Try again tomorrow.",
}


class Kind(StrEnum):
    """Which mail is sent again."""

    ALERT = MailKind.ALERT
    REMINDER = MailKind.REMINDER
    NEW_KEYS = MailKind.NEW_KEYS


@help_page(
    "octy incidents decide 0199f2c4 regenerate --leaked --reason 'by phone'",
    "octy incidents decide 0199f2c4 dismiss --reason 'their load test'",
    more="regenerate: a new key pair is issued and sent; the old one ends after its overlap, or at once with "
    "--leaked. dismiss: a false alarm; the failure counts restart at zero. The first answer counts: if the "
    "customer or a colleague has already answered, the command is refused, and the refusal is recorded in the "
    "incident. A worker must be running. Repeating the command with the same --decision-id decides only once.",
    json=DECIDE_JSON,
)
def decide(
    context: typer.Context,
    *,
    incident: IncidentId,
    decision: Annotated[Choice, typer.Argument(help="What to do.")],
    reason: Reason,
    actor: Actor = None,
    leaked: Leaked = False,
    decision_id: Annotated[
        str | None, typer.Option("--decision-id", help="Repeat this decision.", show_default=False)
    ] = None,
    timeout: Timeout = 20.0,
    request_only: RequestOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the decision to the incident's workflow, and print its response."""
    who = staff_actor(context, actor)
    request = StaffDecision(decision, who, reason, leaked, decision_id or uuid7(now()))
    value = {"decision_id": request.decision_id, "decision": decision, "leaked": leaked, "actor": who}
    with open_incident(context, incident) as (database, incident_id):
        if request_only:
            decisions.save_only(database, incident_id, request)
            print_staff_request(request.decision_id, "decide", as_json=as_json)
            return
        value = {"incident_id": incident_id, **value}
        try:
            decisions.decide(database, temporal_place(context), incident_id, request, timeout=timeout)
        except RefusedError as refusal:
            print_result(f"refused: {refusal}", {**value, "accepted": False, "why": str(refusal)}, (), as_json=as_json)
            raise
    lines = [
        f"Decided: {decision}{', leaked' if leaked else ''}, by {who}.",
        "A mail with a link to the new keys goes to the customer."
        if decision is Choice.REGENERATE
        else "The incident will be closed.",
        f"To see its progress: octy incidents show {incident_id}",
    ]
    done = f"the decision {decision} is recorded"
    print_result(done, {**value, "accepted": True, "why": ""}, lines, as_json=as_json)


@help_page(
    "octy incidents extend 0199f2c4 --days 7 --reason 'on holiday until Monday'",
    more="The incident's deadline and the notification of staff move by this many days; an incident that needs staff "
    "for lack of an answer waits again. At most 90 days in total. Refused once there is an answer; the refusal is "
    "recorded in the incident. The link in the mail works as long as the incident is open. A worker must be running.",
    json=EXTEND_JSON,
)
def extend(
    context: typer.Context,
    *,
    incident: IncidentId,
    days: Annotated[int, typer.Option("--days", help="By how many days.")],
    reason: Reason,
    actor: Actor = None,
    request_id: _RequestId = None,
    timeout: Timeout = 20.0,
    request_only: RequestOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the extension to the incident's workflow, and print the new deadlines."""
    who = staff_actor(context, actor)
    request = StaffExtension(days, who, reason, request_id or uuid7(now()))
    with open_incident(context, incident) as (database, incident_id):
        if request_only:
            decisions.save_only(database, incident_id, request)
            print_staff_request(request.request_id, "extend", as_json=as_json)
            return
        extended = decisions.extend(database, temporal_place(context), incident_id, request, timeout=timeout)
    staff_at, close_at = utc(extended.staff_at), utc(extended.close_at)
    value = {"incident_id": incident_id, "request_id": request.request_id, "days": days, "actor": who}
    lines = [
        f"The incident is closed on {format_time(close_at)}, unless it is answered before.",
        f"Staff is notified on {format_time(staff_at)} if there is no answer.",
    ]
    done = f"the incident's deadline is {format_time(close_at)}"
    print_result(done, {**value, "staff_at": staff_at, "close_at": close_at}, lines, as_json=as_json)


@help_page(
    "octy incidents resend 0199f2c4 --reason 'address corrected'",
    "octy incidents resend 0199f2c4 --kind alert --reason 'deleted by mistake'",
    more="Without --kind it is the last mail. It goes to the account's current security address, within the daily "
    "limit. While new keys are not collected, their link is renewed and sent. If the incident needs staff because a "
    "mail was rejected for good, a mail that is sent ends that. A worker must be running.",
    json=RESEND_JSON,
)
def resend(
    context: typer.Context,
    *,
    incident: IncidentId,
    reason: Reason,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Which mail. Default: the last one.", show_default=False)
    ] = None,
    actor: Actor = None,
    request_id: _RequestId = None,
    timeout: Timeout = 20.0,
    request_only: RequestOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the request to the workflow of the mail, and print the result."""
    who = staff_actor(context, actor)
    request = StaffResend(who, reason, "" if kind in (None, Kind.NEW_KEYS) else str(kind), request_id or uuid7(now()))
    with open_incident(context, incident) as (database, incident_id):
        keys = decisions.keys_to_resend(database, incident_id, kind)
        if request_only:
            decisions.save_only(database, incident_id, request, keys)
            print_staff_request(request.request_id, "resend", as_json=as_json)
            return
        place = temporal_place(context)
        if keys is not None:
            number = decisions.resend_keys(database, place, incident_id, keys, request, timeout=timeout)
            mail, end = f"new_keys-{number}", "ordered"
        else:
            resent = decisions.resend(database, place, incident_id, request, timeout=timeout)
            mail, end = resent.mail, resent.state
    value = {"incident_id": incident_id, "request_id": request.request_id, "actor": who, "mail": mail, "end": end}
    result = f"{mail} {_RESULTS[end]}"
    print_result(f"mail {result}", value, [f"Mail {result}"], as_json=as_json)
    if end in ("failed", "skipped"):
        raise RefusedError(f"mail {mail} was not sent: {end}")


@help_page(
    "octy keys resend --account acme --reason 'the link had expired'",
    more="For a link that has expired, was lost, or went to a wrong address. Older links stop working. The mail "
    "goes to the account's security address; with OCTY_DELIVER=mail it has the keys themselves. Refused if there "
    "are no uncollected keys: `octy keys regenerate` creates new ones. A worker must be running.",
    json=RESEND_KEYS_JSON,
)
def resend_keys(
    context: typer.Context,
    *,
    account: Annotated[str, typer.Option(metavar="REF", help="The account's reference or id.")],
    reason: Reason,
    actor: Actor = None,
    request_id: _RequestId = None,
    timeout: Timeout = 20.0,
    as_json: AsJson = False,
) -> None:
    """Send the request to the regeneration's workflow."""
    who = staff_actor(context, actor)
    order = StaffResend(who, reason, request_id=request_id or uuid7(now()))
    with open_database(context) as database:
        check_staff(who, reason)
        with database.read_session() as session:
            pending = pending_delivery(session, account, now())
        place = temporal_place(context)
        regeneration_id = pending.delivery.regeneration_id
        number = decisions.resend_keys(database, place, pending.incident_id, regeneration_id, order, timeout=timeout)
    value = {name: getattr(pending, name) for name in ("account", "address", "next_address", "takes_effect_at")}
    value |= {"request_id": order.request_id, "actor": who, "mail": number, "earlier": pending.delivery}
    done = f"a new link to the new keys of {pending.account} is ordered"
    print_result(done, value, resent_lines(pending, number), as_json=as_json)
