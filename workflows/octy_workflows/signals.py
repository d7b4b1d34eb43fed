"""Reading SQL when somebody says that there may be something new.

Here: one look after the other, so that a later one always knows more. Not here: what is read, and what follows.
"""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.messages import IgnoredSignal, RefusalReason, WorkflowKind
    from octy_workflows.retry import DEFAULT_RETRY


class FactsLoader:
    """Takes one look at a time; whoever asks while one is under way gets the next one, together with all others."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._asked = 0
        self._taken = 0  # looks were taken for so many that have asked
        self._one_at_a_time = asyncio.Lock()

    async def again(self) -> None:
        """Return after a look that began after this call."""
        self._asked += 1
        number = self._asked
        async with self._one_at_a_time:
            if self._taken < number:
                upto = self._asked
                await self._look()
                self._taken = upto

    async def caught_up(self) -> None:
        """Return when the looks that were asked for until now are taken; later ones hold nobody up."""
        number = self._asked
        await workflow.wait_condition(lambda: self._taken >= number)


class IgnoredSignals:
    """Signals that change nothing: each is counted, and noted where the workflow's subject has a timeline."""

    def __init__(self, kind: WorkflowKind, subject_id: str = "") -> None:
        self._kind = kind
        self._subject_id = subject_id
        self._number = 0

    async def note(self, signal: str, why: RefusalReason) -> None:
        """Have it noted and counted."""
        self._number += 1
        ignored = IgnoredSignal(self._kind, self._subject_id, signal, why, self._number, workflow.time())
        await workflow.execute_activity(activities.note_ignored, ignored, **DEFAULT_RETRY, summary="ignored signal")
