"""Temporal, as a restored database is compared with it: workflows, their histories, and terminating one."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus

from octy_middleware.errors import ConfigurationError
from octy_worker.reconciliation.running import TYPES, WORKFLOW_ID
from octy_worker.reconciliation.subjects import Subject
from octy_worker.restored.known import KnownIncident, KnownRegeneration, Result, incident_of, regeneration_of
from octy_workflows.messages import IncidentFacts, RegenerationCase, RegenerationFacts

_NAMES = {kind: name for name, kind in TYPES.items()}
_RESULTS: dict[str, type | None] = {
    "look_at_regeneration": RegenerationFacts,
    "begin_overlap": None,
    "finish_regeneration": str,
    "look_at_incident": IncidentFacts,
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
    """Asks Temporal about the workflows of one installation. Raises RPCError while it is away."""

    def __init__(self, client: Client, installation: str) -> None:
        self._client = client
        self._installation = installation

    async def executions(self, kind: Subject, *, running: bool, limit: int | None = None) -> AsyncIterator[Execution]:
        """Yield what runs, or else what was completed, newest first. What was terminated has no result."""
        prefix = WORKFLOW_ID[kind](self._installation, "")
        status = "Running" if running else "Completed"
        query = (
            f"WorkflowType = '{_NAMES[kind]}' AND WorkflowId STARTS_WITH '{prefix}' AND ExecutionStatus = '{status}'"
        )
        async for found in self._client.list_workflows(query, limit=limit):
            yield Execution(
                kind,
                found.id.removeprefix(prefix),
                found.run_id,
                found.status is WorkflowExecutionStatus.RUNNING,
                found.start_time,
                0.0 if found.close_time is None else found.close_time.timestamp(),
            )

    async def regeneration(self, execution: Execution) -> KnownRegeneration:
        """Return what one run says of its regeneration."""
        case, results, result = await self._read(execution, RegenerationCase)
        return regeneration_of(case, results, running=execution.running, ending=result, closed_at=execution.closed_at)

    async def incident(self, execution: Execution) -> KnownIncident:
        """Return what one run says of its incident."""
        _, results, result = await self._read(execution, None)
        return incident_of(execution.subject_id, results, running=execution.running, resolution=result)

    async def terminate(self, execution: Execution, why: str) -> None:
        """Terminate one run; the reason stands in its history."""
        handle = self._client.get_workflow_handle(
            WORKFLOW_ID[execution.kind](self._installation, execution.subject_id), run_id=execution.run_id
        )
        await handle.terminate(reason=why)

    async def retention(self) -> float:
        """Return for how many seconds Temporal keeps workflows that have ended."""
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        found = await self._client.workflow_service.describe_namespace(request)
        return float(found.config.workflow_execution_retention_ttl.ToTimedelta().total_seconds())

    async def _read(self, execution: Execution, input_type: type | None) -> tuple[Any, list[Result], str]:
        """Return the input, the results of activities, and the result of the workflow, empty while it runs."""
        workflow_id = WORKFLOW_ID[execution.kind](self._installation, execution.subject_id)
        handle = self._client.get_workflow_handle(workflow_id, run_id=execution.run_id)
        given, results, result, names = None, [], "", dict[int, str]()
        async for event in handle.fetch_history_events():
            if event.HasField("workflow_execution_started_event_attributes") and input_type is not None:
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
        given: Iterable[Payload] = payloads.payloads
        try:
            decoded = await self._client.data_converter.decode(list(given), None if hint is None else [hint])
        except Exception as error:
            raise ConfigurationError(
                f"the payloads of the workflow {workflow_id} can't be read: {type(error).__name__} → set "
                "OCTY_TEMPORAL_KEYS to all keys that payloads were encrypted with"
            ) from error
        return decoded[0] if decoded else None
