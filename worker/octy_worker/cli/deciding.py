"""A staff decision on its way to the case's workflow, and what came back.

Here: asking, understanding the answer, auditing a refusal. Not here: whether a decision comes too late (the workflow
and SQL say), what can be typed (`incidents`).

An update is answered only by a running worker. Without one nothing tells whether the decision is still waiting
somewhere, so the same decision id is to be used again: the workflow takes each id once.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.clock import uuid7
from octy_middleware.database import Database
from octy_worker import cases
from octy_worker.cli.audit import record
from octy_worker.cli.exits import CommandError, RefusedError, UnavailableError, UsageFaultError
from octy_worker.cli.surroundings import login_name, now
from octy_worker.cli.temporal_place import TemporalPlace, has_worker, reach
from octy_workflows.hearing import INVALID, REFUSED, TOO_LATE
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import incident_workflow_id
from octy_workflows.staff import Choice, StaffDecision


def decide(
    database: Database, place: TemporalPlace, incident_id: str, decision: StaffDecision, *, timeout: float
) -> None:
    """Return once the decision stands. Raises RefusedError, after auditing it, or UnavailableError."""
    try:
        _refuse_faults(decision)
        asyncio.run(_ask(database, place, incident_id, decision, patience=timeout))
    except RefusedError as refusal:
        _audit_refusal(database, incident_id, decision, str(refusal))
        raise
    record("case_decided", decision.actor, **_facts(incident_id, decision))


def _refuse_faults(decision: StaffDecision) -> None:
    fault = decision.fault()
    if fault is not None:
        raise RefusedError(fault)


async def _ask(
    database: Database, place: TemporalPlace, incident_id: str, decision: StaffDecision, *, patience: float
) -> None:
    client = await reach(place)
    handle = client.get_workflow_handle_for(KeyIncidentWorkflow.run, incident_workflow_id(incident_id))
    try:
        await handle.execute_update(
            KeyIncidentWorkflow.decide, decision, id=decision.decision_id, rpc_timeout=timedelta(seconds=patience)
        )
    except WorkflowUpdateFailedError as error:
        raise _refusal(database, incident_id, error) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise await _nobody_answered(client, place, decision, patience) from None
    except RPCError as error:
        raise _no_workflow(database, incident_id, error) from None


def _refusal(database: Database, incident_id: str, error: WorkflowUpdateFailedError) -> CommandError:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in (INVALID, TOO_LATE):
        return RefusedError(cause.message)
    if REFUSED.decode() in str(cause):
        return UsageFaultError(
            "the workers take encrypted decisions only, and this one was not", "set OCTY_TEMPORAL_KEYS here as there"
        )
    return _too_late(database, incident_id) or UnavailableError(
        f"the case's workflow failed at the decision: {cause}", "look at the worker's log, then repeat the command"
    )


async def _nobody_answered(
    client: Client, place: TemporalPlace, decision: StaffDecision, patience: float
) -> CommandError:
    repeat = f"repeat with --decision-id {decision.decision_id}, which never counts twice"
    try:
        worker = await has_worker(client, place, now())
    except RPCError:
        worker = False
    if worker:
        return UnavailableError(
            f"no answer within {patience:g} s, though a worker asked for work lately", f"look at its log; {repeat}"
        )
    return UnavailableError(
        f"no worker asks Temporal for work (task queue {place.temporal_task_queue!r})", f"start `octy worker`; {repeat}"
    )


def _no_workflow(database: Database, incident_id: str, error: RPCError) -> CommandError:
    if error.status is not RPCStatusCode.NOT_FOUND:
        return UnavailableError(f"Temporal did not take the decision: {error.message}", "`octy doctor` looks closer")
    return _too_late(database, incident_id) or UnavailableError(
        f"the case's workflow is not there yet ({error.message})",
        "is `octy worker` running, at the same address and namespace? `octy doctor` tells; then repeat the command",
    )


def _too_late(database: Database, incident_id: str) -> RefusedError | None:
    """Return the refusal when SQL knows the case as closed: its workflow may be long forgotten."""
    with database.read() as connection:
        standing = cases.standing(connection, incident_id)
    if not standing.closed:
        return None
    answer = f"{standing.answer}, by {standing.answered_by}" if standing.answer else "nobody answered"
    return RefusedError(f"too late, the case is closed as {standing.resolution}: {answer}")


def _audit_refusal(database: Database, incident_id: str, decision: StaffDecision, why: str) -> None:
    """Put the refusal into the case's timeline, once a decision id, without what was refused for its content."""
    facts = _facts(incident_id, decision)
    actor = decision.actor if _fits(replace(decision, reason="fits")) else login_name()
    taken = _fits(replace(decision, actor="fits"))
    detail = {"decision": decision.decision, "why": why, **({"reason": decision.reason} if taken else {})}
    at = now()
    decision_id = decision.decision_id if decision.fault() is None else uuid7(at)
    with database.write() as connection:
        cases.note_refused_decision(
            connection, incident_id, decision_id=decision_id, actor=actor, detail=detail, now=at
        )
    record("decision_refused", actor, why=why, **{**facts, "reason": detail.get("reason")})


def _fits(decision: StaffDecision) -> bool:
    return replace(decision, decision=Choice.DISMISS, leaked=False, decision_id="").fault() is None


def _facts(incident_id: str, decision: StaffDecision) -> dict[str, str | bool | None]:
    return {
        "incident": incident_id,
        "decision": decision.decision,
        "leaked": decision.leaked,
        "reason": decision.reason,
        "decision_id": decision.decision_id,
    }
