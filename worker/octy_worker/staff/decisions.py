"""Orders of support staff to the workflow of an incident or a regeneration: decision, extension, resend.

The workflow gets the order's id as a Temporal update, and then reads the order itself. An update is answered only by a
running worker. Without a response it is unknown whether the update is still queued, so the same id must be used again:
the workflow handles each id once.
"""

import asyncio
import time
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.db.database import Database
from octy_middleware.db.models import Regeneration
from octy_middleware.errors import InvalidInputError
from octy_worker.access.orders import Order
from octy_worker.access.roles import Action
from octy_worker.domain import incidents, regenerations
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError
from octy_worker.reports.queries import incident_of
from octy_worker.staff.acts import Decision, Extension, Resend
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Fields
from octy_worker.staff.outputs import Done, NewLink
from octy_worker.staff.refusals import known_facts
from octy_worker.temporal.access import has_worker, open_client
from octy_worker.temporal.client import main_queue
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import ExtendedDeadlines, ResendResult, incident_workflow_id, regeneration_workflow_id
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.staff_input import INVALID, ORDER_REFUSED, REFUSED_PLAINTEXT, TOO_EARLY, TOO_LATE

_UPDATES: dict[Action, Any] = {
    Action.DECIDE: KeyIncidentWorkflow.decide,
    Action.EXTEND: KeyIncidentWorkflow.extend,
    Action.RESEND: KeyIncidentWorkflow.resend,
    Action.RESEND_KEYS: KeyRegenerationWorkflow.resend,
}


def decide(context: StaffContext, order: Order, fields: Decision) -> Done:
    """Return once the decision is recorded.

    Raises RefusedError or UnavailableError, and InvalidInputError for an unknown incident.
    """
    _send_update(context, order, order.subject)
    _record("case_decided", order, fields, incident=order.subject, leaked=fields.leaked)
    return Done(order.order_id)


def extend(context: StaffContext, order: Order, fields: Extension) -> ExtendedDeadlines:
    """Return the incident's new deadlines. Raises as `decide`."""
    extended: ExtendedDeadlines = _send_update(context, order, order.subject)
    _record("case_extended", order, fields, incident=order.subject)
    return extended


def resend(context: StaffContext, order: Order, fields: Resend) -> ResendResult:
    """Return which mail was sent again, and what became of it. Raises as `decide`."""
    resent: ResendResult = _send_update(context, order, order.subject)
    _record("mail_ordered_again", order, fields, incident=order.subject)
    return resent


def resend_keys(context: StaffContext, order: Order, fields: Resend) -> NewLink:
    """Have a fresh link to new keys mailed; return the mail's number. Raises as `decide`.

    The timeline of the incident that waits for these keys records it, if there is one.
    """
    with context.database.read_session() as session:
        if session.get(Regeneration, order.subject) is None:
            raise InvalidInputError("no new keys have this id → octy keys resend --account …")
        incident_id = next(iter(regenerations.waiting_incidents(session, order.subject)), None)
    number: int = _send_update(context, order, incident_id)
    incident = {} if incident_id is None else {"incident": incident_id}
    _record("mail_ordered_again", order, fields, regeneration=order.subject, **incident)
    if incident_id is not None:
        with context.database.write_session() as session:
            incidents.append_event(
                session,
                incident_id,
                key=f"mail_ordered_again-{order.order_id}",
                actor=order.actor,
                what="mail_ordered_again",
                detail={"mail": f"new_keys-{number}", "reason": order.reason},
                now=context.clock(),
            )
    return NewLink(number)


def _record(what: str, order: Order, fields: Fields, **subject: str | bool) -> None:
    record(what, order.actor, **subject, **known_facts(fields), reason=order.reason, order_id=order.order_id)


def _send_update(context: StaffContext, order: Order, incident_id: str | None) -> Any:
    """Send the order's id to its workflow and return the response. `incident_id`: the incident that it is about."""
    if incident_id is not None:
        with context.database.read_session() as session:
            incident_of(session, incident_id)
    return asyncio.run(_execute_update(context, order, incident_id))


async def _execute_update(context: StaffContext, order: Order, incident_id: str | None) -> Any:
    installation, place = context.installation, context.temporal
    client = await open_client(place)
    id_of = regeneration_workflow_id if order.action is Action.RESEND_KEYS else incident_workflow_id
    handle = client.get_workflow_handle(id_of(installation, order.subject))
    try:
        return await handle.execute_update(
            _UPDATES[order.action],
            {"order": order.order_id},
            id=order.order_id,
            rpc_timeout=timedelta(seconds=context.timeout),
        )
    except WorkflowUpdateFailedError as error:
        raise _refusal_error(context.database, incident_id, error) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise await _no_response_error(client, main_queue(place, installation), order, context.timeout) from None
    except RPCError as error:
        raise _no_workflow_error(context.database, incident_id, error) from None


def _refusal_error(database: Database, incident_id: str | None, error: WorkflowUpdateFailedError) -> CommandError:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in (INVALID, ORDER_REFUSED, TOO_EARLY, TOO_LATE):
        return RefusedError(cause.message)
    if REFUSED_PLAINTEXT.decode() in str(cause):
        return UsageError(
            "the workers accept only encrypted orders, and this one was not encrypted",
            "set OCTY_TEMPORAL_KEYS to the workers' value",
        )
    return _too_late_error(database, incident_id) or UnavailableError(
        f"the workflow failed to handle the order: {cause}", "read the worker's log, then repeat the command"
    )


async def _no_response_error(client: Client, task_queue: str, order: Order, seconds: float) -> CommandError:
    repeat = f"repeat with --order-id {order.order_id}, which is handled only once"
    try:
        worker = await has_worker(client, task_queue, time.time())
    except RPCError:
        worker = False
    if worker:
        return UnavailableError(
            f"no response within {seconds:g} s, although a worker is polling", f"read its log; {repeat}"
        )
    return UnavailableError(
        f"no worker is polling task queue {task_queue!r}", f"start one with `octy worker`; {repeat}"
    )


def _no_workflow_error(database: Database, incident_id: str | None, error: RPCError) -> CommandError:
    if error.status is not RPCStatusCode.NOT_FOUND:
        return UnavailableError(f"Temporal refused the order: {error.message}", "run `octy doctor`")
    return _too_late_error(database, incident_id) or UnavailableError(
        f"the workflow does not exist yet ({error.message})",
        "check with `octy doctor` that `octy worker` runs with the same address and namespace; then repeat the command",
    )


def _too_late_error(database: Database, incident_id: str | None) -> RefusedError | None:
    """Return the refusal when the incident is closed in SQL: its workflow may no longer exist."""
    if incident_id is None:
        return None
    with database.read_session() as session:
        current = incidents.read_answer(session, incident_id)
    if not current.closed:
        return None
    answer = f"{current.answer}, by {current.answered_by}" if current.answer else "there was no answer"
    return RefusedError(f"too late, the incident is closed as {current.resolution}: {answer}")
