"""The workflows in Temporal: their state, listing running ones, terminating one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from octy_worker.maintenance.reconciliation.subjects import WORKFLOW_ID, Subject
from octy_workflows.task_queues import workflow_task_queues

_CONCURRENCY = 8  # calls to Temporal
_PAGE = 200
WORKFLOW_TYPES = {"KeyIncidentWorkflow": Subject.INCIDENT, "KeyRegenerationWorkflow": Subject.REGENERATION}


class WorkflowState(Enum):
    """The state of a workflow."""

    RUNNING = "running"
    COMPLETED = "completed"  # by itself, after its subject was closed in SQL
    TERMINATED = "terminated"  # terminated or timed out
    NOT_FOUND = "not_found"


_STATES = {
    WorkflowExecutionStatus.RUNNING: WorkflowState.RUNNING,
    WorkflowExecutionStatus.COMPLETED: WorkflowState.COMPLETED,
}


class WorkflowLookup:
    """Looks up the workflows of one installation. Raises RPCError during an outage of Temporal."""

    def __init__(self, client: Client, task_queue: str, installation: str) -> None:
        self._client = client
        self._installation = installation
        self._task_queues = workflow_task_queues(task_queue)

    async def states(self, workflow_ids: Mapping[str, str]) -> dict[str, WorkflowState]:
        """Return the state of each workflow by subject id, from its record, not from the visibility index."""
        semaphore = asyncio.Semaphore(_CONCURRENCY)

        async def look_up(workflow_id: str) -> WorkflowState:
            async with semaphore:
                return await self._state(workflow_id)

        return dict(zip(workflow_ids, await asyncio.gather(*map(look_up, workflow_ids.values())), strict=True))

    async def _state(self, workflow_id: str) -> WorkflowState:
        try:
            found = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return WorkflowState.NOT_FOUND
            raise
        return WorkflowState.TERMINATED if found.status is None else _STATES.get(found.status, WorkflowState.TERMINATED)

    async def running(self) -> AsyncIterator[tuple[Subject, list[str]]]:
        """Yield pages of subject ids whose workflow runs: incidents, then regenerations."""
        for name, kind in WORKFLOW_TYPES.items():
            queues = ", ".join(f"'{queue}'" for queue in self._task_queues)
            query = f"ExecutionStatus = 'Running' AND WorkflowType = '{name}' AND TaskQueue IN ({queues})"
            prefix, ids = WORKFLOW_ID[kind](self._installation, ""), list[str]()
            async for found in self._client.list_workflows(query, page_size=_PAGE):
                if found.id.startswith(prefix):
                    ids.append(found.id.removeprefix(prefix))
                if len(ids) == _PAGE:
                    yield kind, ids
                    ids = []
            if ids:
                yield kind, ids

    def _handle(self, kind: Subject, subject_id: str) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(WORKFLOW_ID[kind](self._installation, subject_id))

    async def is_idle(self, kind: Subject, subject_id: str) -> bool:
        """Whether the workflow runs and has no pending tasks, so that it is not about to complete by itself."""
        found = await self._handle(kind, subject_id).describe()
        busy = found.raw_description.HasField("pending_workflow_task") or found.raw_description.pending_activities
        return found.status is WorkflowExecutionStatus.RUNNING and not busy

    async def terminate(self, kind: Subject, subject_id: str, reason: str) -> None:
        """Terminate a workflow; the reason is recorded in its history."""
        await self._handle(kind, subject_id).terminate(reason=reason)
