"""Handling of signals: loading facts from the database again, and recording ignored signals."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.messages import IgnoredSignal, RefusalReason, WorkflowKind
    from octy_workflows.retry import DEFAULT_RETRY


class FactsLoader:
    """Runs one load at a time, so that a later one always knows more. Calls during a load share the next one."""

    def __init__(self, load: Callable[[], Awaitable[None]]) -> None:
        self._load = load
        self._requested = 0
        self._loaded = 0  # number of requests that were answered by a load
        self._lock = asyncio.Lock()

    async def reload(self) -> None:
        """Return after a load that began after this call."""
        self._requested += 1
        number = self._requested
        async with self._lock:
            if self._loaded < number:  # pragma: no branch - coverage does not see the way out of `async with`
                requested = self._requested
                await self._load()
                self._loaded = requested

    async def wait_for_pending(self) -> None:
        """Return when the loads requested so far are done. Later ones are not waited for."""
        number = self._requested
        await workflow.wait_condition(lambda: self._loaded >= number)


class IgnoredSignals:
    """Records signals that change nothing: each is counted, and added to the incident's timeline if there is one."""

    def __init__(self, kind: WorkflowKind, subject_id: str = "") -> None:
        self._kind = kind
        self._subject_id = subject_id
        self._number = 0

    async def record(self, signal: str, reason: RefusalReason) -> None:
        """Record and count one signal."""
        self._number += 1
        ignored = IgnoredSignal(self._kind, self._subject_id, signal, reason, self._number, workflow.time())
        await workflow.execute_activity(
            activities.record_ignored_signal, ignored, **DEFAULT_RETRY, summary="ignored signal"
        )
