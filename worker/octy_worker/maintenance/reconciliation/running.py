"""What runs in Temporal: whether one workflow does, which ones do, and ending one.

Here: every call of a reconciliation to Temporal. Not here: what follows (`run`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from octy_worker.maintenance.reconciliation.subjects import Subject
from octy_workflows.messages import incident_workflow_id, regeneration_workflow_id
from octy_workflows.task_queues import workflow_task_queues

_AT_ONCE = 8  # questions under way
_PAGE = 200
TYPES = {"KeyIncidentWorkflow": Subject.INCIDENT, "KeyRegenerationWorkflow": Subject.REGENERATION}
WORKFLOW_ID = {Subject.INCIDENT: incident_workflow_id, Subject.REGENERATION: regeneration_workflow_id}


class Life(Enum):
    """Whether a workflow runs."""

    RUNNING = "running"
    COMPLETED = "completed"  # by itself: SQL had ended its subject before
    ENDED = "ended"  # terminated or timed out
    ABSENT = "absent"


_LIVES = {
    WorkflowExecutionStatus.RUNNING: Life.RUNNING,
    WorkflowExecutionStatus.COMPLETED: Life.COMPLETED,
}


class Running:
    """Asks Temporal about the workflows of one main task queue. Raises RPCError while it is away."""

    def __init__(self, client: Client, task_queue: str, installation: str) -> None:
        self._client = client
        self._installation = installation
        self._task_queues = workflow_task_queues(task_queue)

    async def lives(self, workflow_ids: Mapping[str, str]) -> dict[str, Life]:
        """Return of each subject whether its workflow runs, by the exact record, not by the index."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def ask(workflow_id: str) -> Life:
            async with turn:
                return await self._life(workflow_id)

        return dict(zip(workflow_ids, await asyncio.gather(*map(ask, workflow_ids.values())), strict=True))

    async def _life(self, workflow_id: str) -> Life:
        try:
            found = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return Life.ABSENT
            raise
        return Life.ENDED if found.status is None else _LIVES.get(found.status, Life.ENDED)

    async def running(self) -> AsyncIterator[tuple[Subject, list[str]]]:
        """Yield the ids of what runs on the task queue, some at a time, cases and regenerations apart."""
        for name, kind in TYPES.items():
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
        """Tell whether it runs and nothing of it is under way: it is not about to end by itself."""
        found = await self._handle(kind, subject_id).describe()
        busy = found.raw_description.HasField("pending_workflow_task") or found.raw_description.pending_activities
        return found.status is WorkflowExecutionStatus.RUNNING and not busy

    async def end(self, kind: Subject, subject_id: str, why: str) -> None:
        """End one at once; the reason stands in its history."""
        await self._handle(kind, subject_id).terminate(reason=why)
