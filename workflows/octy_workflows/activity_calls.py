"""Activities whose subject is not in the worker's database: asked for again at long intervals, and told to staff.

Here: what a workflow does once `SUBJECT_MISSING_FOR` is over. Not here: who finds a subject missing, and what is
written and counted then, which is the worker's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import MissingSubject, WorkflowKind
    from octy_workflows.retry import DEFAULT_RETRY, MISSING_SUBJECT_RETRY, SUBJECT_MISSING

_Order = TypeVar("_Order")
_Answer = TypeVar("_Answer")


def missing_subject_cause(error: ActivityError) -> str:
    """Return why an activity gave up when its subject was missing for long; nothing for any other failure."""
    cause = error.cause
    return cause.message if isinstance(cause, ApplicationError) and cause.type == SUBJECT_MISSING else ""


def with_current_time(order: _Order) -> _Order:
    """Return the order as of now: it may have waited for days."""
    return cast("_Order", replace(cast("Any", order), at=workflow.time()))


class ActivityCaller:
    """Asks for the activities of one workflow.

    `state` tells where an incident stands, to which it goes back; `show` is told whether staff is needed.
    """

    def __init__(
        self,
        kind: WorkflowKind,
        subject_id: str,
        board: CurrentDetails,
        state: Callable[[], str] = lambda: "",
        show: Callable[[bool], None] = lambda _needed: None,
    ) -> None:
        self._kind = kind
        self._subject_id = subject_id
        self._board = board
        self._state = state
        self._show = show
        self._causes: list[str] = []  # of the activities that are asked for at long intervals now

    async def ask(self, step: Callable[[_Order], _Answer], order: _Order, summary: str = "") -> _Answer:
        """Return the activity's answer, however long its subject is missing."""
        try:
            return await workflow.execute_activity(step, order, **DEFAULT_RETRY, summary=summary)
        except ActivityError as error:
            cause = missing_subject_cause(error)
            if not cause:
                raise
        again = with_current_time(order)
        return await self.missing(
            cause, lambda: workflow.execute_activity(step, again, **MISSING_SUBJECT_RETRY, summary=summary)
        )

    async def missing(self, cause: str, asked: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return what is asked for at long intervals; staff is called meanwhile."""
        await self._begin(cause)
        try:
            answer = await asked()
        except ActivityError:
            await self._end(cause)
            raise
        await self._end(cause)
        return answer

    async def _begin(self, cause: str) -> None:
        """Call staff, unless it is called for the same cause."""
        known = cause in self._causes
        self._causes.append(cause)
        if not known:
            self._board.show(missing=f"Support staff is needed: {cause} It is tried again every ten minutes.")
            self._show(True)
            await self._note(cause, over=False)

    async def _end(self, cause: str) -> None:
        """Take the staff task back when nothing is missing any more."""
        self._causes.remove(cause)
        if not self._causes:
            self._board.show(missing="")
            self._show(False)
            await self._note(cause, over=True)

    async def _note(self, cause: str, *, over: bool) -> None:
        missing = MissingSubject(self._kind, self._subject_id, cause, over, self._state(), workflow.time())
        summary = "it goes on" if over else "subject missing"
        await workflow.execute_activity(activities.note_missing, missing, **DEFAULT_RETRY, summary=summary)
