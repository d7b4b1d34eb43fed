"""`octy incidents decide`, `extend`, `resend` and `octy keys resend`: orders that a workflow carries out."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from octy_middleware.clock import utc
from octy_worker.access.orders import check_staff
from octy_worker.access.roles import Action
from octy_worker.cli.context import open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import (
    AccountOption,
    Actor,
    AsJson,
    IncidentId,
    Leaked,
    OrderId,
    OrderOnly,
    Reason,
    Timeout,
)
from octy_worker.cli.output import format_time, print_json, print_result, report_unwritten
from octy_worker.cli.views.key_delivery import resent_lines
from octy_worker.errors import RefusedError
from octy_worker.staff.acts import DECIDE, EXTEND, RESEND, RESEND_KEYS, Decision, Extension, Resend
from octy_worker.staff.operations import Desk
from octy_worker.staff.queries import (
    FIND_INCIDENT,
    FIND_RESENDABLE,
    PENDING_KEYS,
    IncidentRef,
    PendingKeysRef,
    ResendableRef,
)
from octy_workflows.messages import MailKind
from octy_workflows.order_content import Choice

DECIDE_JSON = "incident_id, order_id, decision, leaked, actor, accepted, why"
EXTEND_JSON = "incident_id, order_id, days, actor, staff_at, close_at"
RESEND_JSON = "incident_id, order_id, actor, mail, end"
RESEND_KEYS_JSON = (
    "account, address, next_address, takes_effect_at, order_id, actor, mail, "
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
    "incident. A worker must be running. Repeating the command with the same --order-id decides only once.",
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
    order_id: OrderId = None,
    timeout: Timeout = 20.0,
    order_only: OrderOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the decision to the incident's workflow, and print its response."""
    fields = Decision(str(decision), leaked)
    with open_order_desk(context, actor, order_id) as desk:
        incident_id = desk.read(FIND_INCIDENT, IncidentRef(incident)).incident_id
        if order_only:
            _print_received(desk.hand_in(DECIDE, incident_id, fields, reason), "decide", as_json=as_json)
            return
        who = desk.actor
        value = {"incident_id": incident_id, "order_id": desk.order_id, **asdict(fields), "actor": who}
        try:
            desk.order(DECIDE, incident_id, fields, reason, timeout=timeout)
        except RefusedError as refusal:
            if as_json:
                with report_unwritten(f"Refused: {refusal}."):
                    print_json({**value, "accepted": False, "why": str(refusal)})
            raise
    lines = [
        f"Decided: {decision}{', leaked' if leaked else ''}, by {who}.",
        "A mail with a link to the new keys goes to the customer."
        if decision is Choice.REGENERATE
        else "The incident will be closed.",
        f"To see its progress: octy incidents show {incident_id}",
    ]
    print_result({**value, "accepted": True, "why": ""}, lines, as_json=as_json)


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
    order_id: OrderId = None,
    timeout: Timeout = 20.0,
    order_only: OrderOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the extension to the incident's workflow, and print the new deadlines."""
    fields = Extension(days)
    with open_order_desk(context, actor, order_id) as desk:
        incident_id = desk.read(FIND_INCIDENT, IncidentRef(incident)).incident_id
        if order_only:
            _print_received(desk.hand_in(EXTEND, incident_id, fields, reason), "extend", as_json=as_json)
            return
        extended = desk.order(EXTEND, incident_id, fields, reason, timeout=timeout)
        order_id, who = desk.order_id, desk.actor
    staff_at, close_at = utc(extended.staff_at), utc(extended.close_at)
    value = {"incident_id": incident_id, "order_id": order_id, "days": days, "actor": who}
    lines = [
        f"The incident is closed on {format_time(close_at)}, unless it is answered before.",
        f"Staff is notified on {format_time(staff_at)} if there is no answer.",
    ]
    print_result({**value, "staff_at": staff_at, "close_at": close_at}, lines, as_json=as_json)


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
    order_id: OrderId = None,
    timeout: Timeout = 20.0,
    order_only: OrderOnly = False,
    as_json: AsJson = False,
) -> None:
    """Send the order to the workflow of the mail, and print the result."""
    fields = Resend("" if kind in {None, Kind.NEW_KEYS} else str(kind))
    with open_order_desk(context, actor, order_id) as desk:
        ordered = _ordered(desk, Action.RESEND, Action.RESEND_KEYS)
        found = desk.read(FIND_RESENDABLE, ResendableRef(incident, None if kind is None else str(kind), ordered))
        new_keys = found.regeneration_id
        if order_only:
            act, subject = (RESEND, found.incident_id) if new_keys is None else (RESEND_KEYS, new_keys)
            _print_received(desk.hand_in(act, subject, fields, reason), "resend", as_json=as_json)
            return
        if new_keys is None:
            resent = desk.order(RESEND, found.incident_id, fields, reason, timeout=timeout)
            mail, end = resent.mail, resent.state
        else:
            sent = desk.order(RESEND_KEYS, new_keys, fields, reason, timeout=timeout)
            mail, end = f"new_keys-{sent.mail}", "ordered"
        value = {"incident_id": found.incident_id, "order_id": desk.order_id, "actor": desk.actor}
    value |= {"mail": mail, "end": end}
    print_result(value, [f"Mail {mail} {_RESULTS[end]}"], as_json=as_json)
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
    account: AccountOption,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    timeout: Timeout = 20.0,
    as_json: AsJson = False,
) -> None:
    """Send the order to the regeneration's workflow."""
    with open_order_desk(context, actor, order_id) as desk:
        check_staff(desk.actor, reason)
        pending = desk.read(PENDING_KEYS, PendingKeysRef(account, _ordered(desk, Action.RESEND_KEYS)))
        regeneration_id = pending.delivery.regeneration_id
        number = desk.order(RESEND_KEYS, regeneration_id, Resend(), reason, timeout=timeout).mail
        order_id, who = desk.order_id, desk.actor
    value = {name: getattr(pending, name) for name in ("account", "address", "next_address", "takes_effect_at")}
    value |= {"order_id": order_id, "actor": who, "mail": number, "earlier": pending.delivery}
    print_result(value, resent_lines(pending, number), as_json=as_json)


def _print_received(order_id: str, update: str, *, as_json: bool) -> None:
    """Print a received order's id, and how to send it from Temporal's Web UI."""
    lines = [f"Order {order_id} is received.", f'Send the update `{update}` with {{"order": "{order_id}"}}.']
    print_result({"order": order_id, "update": update}, lines, as_json=as_json)


def _ordered(desk: Desk, *actions: Action) -> str | None:
    """Return the subject of the order that is repeated; None: there is none, or it is of another action."""
    order = desk.find_order()
    return order.subject if order is not None and order.action in actions else None
