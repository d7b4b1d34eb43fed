"""Temporal, as a restored database is compared with it: workflows, their histories, and terminating one."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.converter import ActivitySerializationContext
from temporalio.service import RPCError, RPCStatusCode

from octy_worker.maintenance.reconciliation.subjects import WORKFLOW_ID, Subject
from octy_worker.maintenance.reconciliation.workflows import WORKFLOW_TYPES
from octy_worker.maintenance.restored.known import (
    KnownIncident,
    KnownRegeneration,
    Result,
    UnprovenError,
    incident_of,
    regeneration_of,
)
from octy_worker.temporal.codec import ENCRYPTED
from octy_workflows.messages import IncidentFacts, IncidentInput, RegenerationFacts, RegenerationInput

_ISSUED = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")  # see `clock.uuid7`
_NAMES = {kind: name for name, kind in WORKFLOW_TYPES.items()}
_RESULTS: dict[str, type | None] = {
    "load_regeneration_facts": RegenerationFacts,
    "begin_overlap": None,
    "finish_regeneration": str,
    "load_incident_facts": IncidentFacts,
    "open_regeneration": str,
}


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a workflow, as a list shows it."""

    kind: Subject
    subject_id: str
    run_id: str
    running: bool
    started_at: datetime
    closed_at: float


class Histories:
    """Asks Temporal about the workflows of one installation. Raises RPCError while it is away.

    A history is proven by its encryption: only who has OCTY_TEMPORAL_KEYS can have written it, for this very workflow.
    `trust`: take others, too; anyone with access to Temporal can have written those.
    """

    def __init__(self, client: Client, installation: str, *, trust: bool = False) -> None:
        self._client = client
        self._installation = installation
        self._trust = trust

    def workflow_id(self, kind: Subject, subject_id: str) -> str:
        """Return the id as Temporal knows it."""
        return WORKFLOW_ID[kind](self._installation, subject_id)

    async def executions(self, kind: Subject, *, running: bool, limit: int | None = None) -> AsyncIterator[Execution]:
        """Yield what runs, or else what was completed, newest first. What was terminated has no result.

        Ids that no database of ours issues are left out.
        """
        prefix = WORKFLOW_ID[kind](self._installation, "")
        status = "Running" if running else "Completed"
        query = (
            f"WorkflowType = '{_NAMES[kind]}' AND WorkflowId STARTS_WITH '{prefix}' AND ExecutionStatus = '{status}'"
        )
        async for found in self._client.list_workflows(query, limit=limit):
            if not _ISSUED.fullmatch(found.id.removeprefix(prefix)):
                continue
            yield Execution(
                kind,
                found.id.removeprefix(prefix),
                found.run_id,
                found.status is WorkflowExecutionStatus.RUNNING,
                found.start_time,
                0.0 if found.close_time is None else found.close_time.timestamp(),
            )

    async def regeneration(self, execution: Execution) -> KnownRegeneration:
        """Return what one run says of its regeneration. Raises UnprovenError."""
        case, results, result = await self._read(execution, RegenerationInput)
        if not isinstance(case, RegenerationInput) or case.regeneration_id != execution.subject_id:
            raise UnprovenError("its input is not of this regeneration")
        return regeneration_of(case, results, running=execution.running, ending=result, closed_at=execution.closed_at)

    async def incident(self, execution: Execution) -> KnownIncident:
        """Return what one run says of its incident. Raises UnprovenError."""
        case, results, result = await self._read(execution, IncidentInput)
        if not isinstance(case, IncidentInput) or case.incident_id != execution.subject_id:
            raise UnprovenError("its input is not of this incident")
        return incident_of(execution.subject_id, results, running=execution.running, resolution=result)

    async def terminate(self, execution: Execution, why: str) -> None:
        """Terminate one run, unless it has ended; the reason stands in its history."""
        handle = self._client.get_workflow_handle(
            self.workflow_id(execution.kind, execution.subject_id), run_id=execution.run_id
        )
        try:
            await handle.terminate(reason=why)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def retention(self) -> float:
        """Return for how many seconds Temporal keeps workflows that have ended."""
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        found = await self._client.workflow_service.describe_namespace(request)
        return float(found.config.workflow_execution_retention_ttl.ToTimedelta().total_seconds())

    async def _read(self, execution: Execution, input_type: type) -> tuple[Any, list[Result], str]:
        """Return the input, the results of activities, and the result of the workflow, empty while it runs."""
        workflow_id = self.workflow_id(execution.kind, execution.subject_id)
        handle = self._client.get_workflow_handle(workflow_id, run_id=execution.run_id)
        given, results, result, names = None, [], "", dict[int, str]()
        async for event in handle.fetch_history_events():
            if event.HasField("workflow_execution_started_event_attributes"):
                given = await self._decode(
                    workflow_id, event.workflow_execution_started_event_attributes.input, input_type
                )
            elif event.HasField("activity_task_scheduled_event_attributes"):
                names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
            elif event.HasField("activity_task_completed_event_attributes"):
                done = event.activity_task_completed_event_attributes
                name = names[done.scheduled_event_id]
                if name in _RESULTS:
                    value = await self._decode(workflow_id, done.result, _RESULTS[name])
                    results.append(Result(name, value, event.event_time.ToDatetime(UTC).timestamp()))
            elif event.HasField("workflow_execution_completed_event_attributes"):
                ended = event.workflow_execution_completed_event_attributes
                result = str(await self._decode(workflow_id, ended.result, str))
        return given, results, result

    async def _decode(self, workflow_id: str, payloads: Payloads, hint: type | None) -> Any:
        """Return the first value. Anything may stand there: others than our workers can have written it."""
        given, converter = list(payloads.payloads), self._client.data_converter
        if not self._trust:
            if any(payload.metadata.get("encoding") != ENCRYPTED for payload in given):
                raise UnprovenError("its payloads are not encrypted")
            converter = converter.with_context(self._bound_to(workflow_id))
        try:
            decoded = await converter.decode(given, None if hint is None else [hint])
        except Exception as error:
            raise UnprovenError(f"its payloads can't be read: {type(error).__name__}") from error
        return decoded[0] if decoded else None

    def _bound_to(self, workflow_id: str) -> ActivitySerializationContext:
        """Return what has the codec refuse ciphertext of other workflows."""
        return ActivitySerializationContext(
            namespace=self._client.namespace,
            activity_id=None,
            activity_type=None,
            activity_task_queue=None,
            workflow_id=workflow_id,
            workflow_type=None,
            is_local=False,
        )
