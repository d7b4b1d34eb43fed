"""Requests of support staff to the workflow of an incident or a regeneration: decision, extension, resend.

A request is saved in SQL, sent to the workflow as a Temporal update, and audited. An update is answered only by a
running worker. Without a response it is unknown whether the update is still queued, so the same id must be used again:
the workflow handles each id once.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, assert_never

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.clock import uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, Regeneration
from octy_middleware.domain.installation import installation_id
from octy_worker.domain import incidents, staff_requests
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError
from octy_worker.staff.actor import login_name
from octy_worker.staff.audit import record
from octy_worker.temporal.access import TemporalAccess, has_worker, open_client
from octy_worker.temporal.client import main_queue
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    ExtendedDeadlines,
    MailKind,
    ResendResult,
    StaffAction,
    incident_workflow_id,
    regeneration_workflow_id,
)
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.staff_input import INVALID, REFUSED_PLAINTEXT, REQUEST_REFUSED, TOO_EARLY, TOO_LATE
from octy_workflows.staff_requests import Choice, StaffDecision, StaffExtension, StaffRequest, StaffResend

_ACTIONS = {StaffDecision: StaffAction.DECIDE, StaffExtension: StaffAction.EXTEND, StaffResend: StaffAction.RESEND}
_RECORDED = {StaffDecision: "case_decided", StaffExtension: "case_extended", StaffResend: "mail_ordered_again"}


def decide(
    database: Database, place: TemporalAccess, incident_id: str, decision: StaffDecision, *, timeout: float
) -> None:
    """Return once the decision is recorded. Raises RefusedError, after auditing it, or UnavailableError."""
    _send_update(database, place, incident_id, decision, timeout)


def extend(
    database: Database, place: TemporalAccess, incident_id: str, extension: StaffExtension, *, timeout: float
) -> ExtendedDeadlines:
    """Return the incident's new deadlines. Raises as `decide`."""
    extended: ExtendedDeadlines = _send_update(database, place, incident_id, extension, timeout)
    return extended


def resend(
    database: Database, place: TemporalAccess, incident_id: str, order: StaffResend, *, timeout: float
) -> ResendResult:
    """Return which mail was sent again, and what became of it. Raises as `decide`."""
    resent: ResendResult = _send_update(database, place, incident_id, order, timeout)
    return resent


def resend_keys(
    database: Database,
    place: TemporalAccess,
    incident_id: str | None,
    regeneration_id: str,
    order: StaffResend,
    *,
    timeout: float,
) -> int:
    """Have a fresh link to new keys mailed; return the mail's number. Raises as `decide`.

    `incident_id`: the incident that waits for these keys, whose timeline records it; None when none does.
    """
    number: int = _send_update(database, place, incident_id, order, timeout, regeneration_id=regeneration_id)
    if incident_id is not None:
        with database.write_session() as session:
            incidents.append_event(
                session,
                incident_id,
                key=f"mail_ordered_again-{order.id}",
                actor=order.actor,
                what="mail_ordered_again",
                detail={"mail": f"new_keys-{number}", "reason": order.reason},
                now=time.time(),
            )
    return number


def keys_to_resend(database: Database, incident_id: str, kind: str | None) -> str | None:
    """Return the regeneration of this incident whose mail is to be sent again; None when another mail is.

    `kind`: which mail was asked for; None: the last one. Raises RefusedError when there are no uncollected new keys.
    """
    if kind not in (None, MailKind.NEW_KEYS):
        return None
    with database.read_session() as session:
        regeneration_id = session.get_one(Incident, incident_id).regeneration_id
        new = session.get(Regeneration, regeneration_id) if regeneration_id else None
    if new is not None and new.collected_at is None and new.finished_at is None:
        return new.id
    if kind is None:
        return None
    raise RefusedError("this incident has no uncollected new keys; nothing was sent")


def save_only(
    database: Database, incident_id: str | None, request: StaffRequest, regeneration_id: str | None = None
) -> None:
    """Save a request, whose id is then sent by hand. Raises RefusedError, after auditing it."""
    with _audited_refusals(database, incident_id, request):
        _save(database, incident_id, request, regeneration_id)
    record("order_written", request.actor, **_facts(incident_id, request))


def _send_update(
    database: Database,
    place: TemporalAccess,
    incident_id: str | None,
    request: StaffRequest,
    timeout: float,
    *,
    regeneration_id: str | None = None,
) -> Any:
    """Save the request, send its id to the workflow and return the response; to the regeneration's if one is given."""
    with _audited_refusals(database, incident_id, request):
        _save(database, incident_id, request, regeneration_id)
        try:
            response = asyncio.run(
                _execute_update(database, place, incident_id, request, seconds=timeout, regeneration_id=regeneration_id)
            )
        except RefusedError:
            with database.write_session() as session:  # what was refused now must not be carried out later
                staff_requests.withdraw_order(session, request.id, time.time())
            raise
    subject = {} if regeneration_id is None else {"regeneration": regeneration_id}
    record(_RECORDED[type(request)], request.actor, **subject, **_facts(incident_id, request))
    return response


@contextmanager
def _audited_refusals(database: Database, incident_id: str | None, request: StaffRequest) -> Iterator[None]:
    try:
        yield
    except RefusedError as refusal:
        _audit_refusal(database, incident_id, request, str(refusal))
        raise


def _save(database: Database, incident_id: str | None, request: StaffRequest, regeneration_id: str | None) -> None:
    """Save a valid request. Raises RefusedError for an invalid one."""
    fault = request.error()
    if fault is not None:
        raise RefusedError(fault)
    action, subject_id = _ACTIONS[type(request)], incident_id
    if regeneration_id is not None:
        action, subject_id = StaffAction.RESEND_KEYS, regeneration_id
    assert subject_id is not None
    with database.write_session() as session:
        staff_requests.save_order(session, action, subject_id, request, time.time())


def _update_of(request: StaffRequest) -> Any:
    match request:
        case StaffDecision():
            return KeyIncidentWorkflow.decide
        case StaffExtension():
            return KeyIncidentWorkflow.extend
        case StaffResend():
            return KeyIncidentWorkflow.resend
        case unknown:
            assert_never(unknown)


async def _execute_update(
    database: Database,
    place: TemporalAccess,
    incident_id: str | None,
    request: StaffRequest,
    *,
    seconds: float,
    regeneration_id: str | None,
) -> Any:
    installation = installation_id(database)
    client = await open_client(place)
    if regeneration_id is not None:
        workflow_id, update = regeneration_workflow_id(installation, regeneration_id), KeyRegenerationWorkflow.resend
    else:
        assert incident_id is not None
        workflow_id, update = incident_workflow_id(installation, incident_id), _update_of(request)
    try:
        return await client.get_workflow_handle(workflow_id).execute_update(
            update, {"request": request.id}, id=request.id, rpc_timeout=timedelta(seconds=seconds)
        )
    except WorkflowUpdateFailedError as error:
        raise _refusal_error(database, incident_id, error) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise await _no_response_error(client, main_queue(place, installation), request, seconds) from None
    except RPCError as error:
        raise _no_workflow_error(database, incident_id, error) from None


def _refusal_error(database: Database, incident_id: str | None, error: WorkflowUpdateFailedError) -> CommandError:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in (INVALID, REQUEST_REFUSED, TOO_EARLY, TOO_LATE):
        return RefusedError(cause.message)
    if REFUSED_PLAINTEXT.decode() in str(cause):
        return UsageError(
            "the workers accept only encrypted requests, and this one was not encrypted",
            "set OCTY_TEMPORAL_KEYS to the workers' value",
        )
    return _too_late_error(database, incident_id) or UnavailableError(
        f"the workflow failed to handle the request: {cause}", "read the worker's log, then repeat the command"
    )


async def _no_response_error(client: Client, task_queue: str, request: StaffRequest, seconds: float) -> CommandError:
    option = request.id_field.replace("_", "-")
    repeat = f"repeat with --{option} {request.id}, which is handled only once"
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
        return UnavailableError(f"Temporal refused the request: {error.message}", "run `octy doctor`")
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


def _audit_refusal(database: Database, incident_id: str | None, request: StaffRequest, why: str) -> None:
    """Record the refusal in the incident's timeline, once for each id, without invalid content."""
    actor = request.actor if _fits(request.actor, "fits") else login_name()
    facts = {**_known_facts(request), **({"reason": request.reason} if _fits("fits", request.reason) else {})}
    if incident_id is not None:
        _record_refusal(database, incident_id, request, actor, {**facts, "why": why})
    record(request.refused_event, actor, why=why, **{**_facts(incident_id, request), "reason": facts.get("reason")})


def _record_refusal(
    database: Database, incident_id: str, request: StaffRequest, actor: str, detail: dict[str, str | int | bool]
) -> None:
    at = time.time()
    number = request.id if request.error() is None else uuid7(at)
    with database.write_session() as session:
        incidents.record_refused_decision(
            session,
            incident_id,
            decision_id=number,
            actor=actor,
            detail=detail,
            now=at,
            what=request.refused_event,
        )


def _known_facts(request: StaffRequest) -> dict[str, str | int | bool]:
    """Return what was asked for; nothing for an unknown kind of mail, which may be any text."""
    return {} if isinstance(request, StaffResend) and request.error() else request.event_detail()


def _fits(actor: str, reason: str) -> bool:
    return StaffDecision(Choice.DISMISS, actor, reason).error() is None


def _facts(incident_id: str | None, request: StaffRequest) -> dict[str, Any]:
    leaked = {"leaked": request.leaked} if isinstance(request, StaffDecision) else {}
    incident = {} if incident_id is None else {"incident": incident_id}
    return {**incident, **_known_facts(request), **leaked, "reason": request.reason, request.id_field: request.id}
