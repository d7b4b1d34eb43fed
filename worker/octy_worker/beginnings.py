"""How workflows began: encrypted, or before encryption was switched on.

Here: one question to Temporal, asked only when plaintext comes to a workflow, and remembered. Not here: what follows
from it (`encryption`).

A setting with a date would have to be right on every host, and right again after each restore. A workflow's first event
is the same for everybody and for good, so a replay decides as the first run did. An answer is not remembered for long:
a reconciliation may have started the same id again, encrypted this time, and then plaintext must not be taken.
"""

import time
from collections.abc import Callable

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.service import RPCError, RPCStatusCode, WorkflowService

from octy_worker.encryption import ENCRYPTED

_REMEMBERED = 10_000  # workflows; those that began encrypted are asked for only when a person sends plaintext
_GOOD_FOR = 60.0  # seconds


class Beginnings:
    """Knows how the workflows of one namespace began; `ask` gives it the way to Temporal."""

    def __init__(self, namespace: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._namespace = namespace
        self._monotonic = monotonic
        self._service: WorkflowService | None = None
        self._plain: dict[str, tuple[bool, float]] = {}  # by workflow id, each with the end of its time

    def ask(self, service: WorkflowService) -> None:
        """Ask this service from now on."""
        self._service = service

    async def plain(self, workflow_id: str) -> bool:
        """Tell whether it was started in plaintext. Raises RPCError: whoever wanted to know tries again."""
        known, until = self._plain.get(workflow_id, (False, 0.0))
        if self._monotonic() < until:
            return known
        self._plain.pop(workflow_id, None)
        answer = await self._first_event_is_plain(workflow_id)
        if answer is None:
            return False
        while len(self._plain) >= _REMEMBERED:
            self._plain.pop(next(iter(self._plain)))
        self._plain[workflow_id] = answer, self._monotonic() + _GOOD_FOR
        return answer

    async def _first_event_is_plain(self, workflow_id: str) -> bool | None:
        """Return None for a workflow that Temporal doesn't know. One without input takes what it is given."""
        assert self._service is not None, "clients are made by octy_worker.temporal.connect"
        try:
            found = await self._service.get_workflow_execution_history(
                GetWorkflowExecutionHistoryRequest(
                    namespace=self._namespace,
                    execution=WorkflowExecution(workflow_id=workflow_id),
                    maximum_page_size=1,
                ),
                retry=True,
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        started = found.history.events[0].workflow_execution_started_event_attributes
        return not any(payload.metadata.get("encoding") == ENCRYPTED for payload in started.input.payloads)
