"""Calls of activities whose subject may be missing in the database: retried at long intervals, and shown to staff."""

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

_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


def missing_subject_cause(error: ActivityError) -> str:
    """Return the message of an activity that failed because its subject is missing; empty for other failures."""
    cause = error.cause
    return cause.message if isinstance(cause, ApplicationError) and cause.type == SUBJECT_MISSING else ""


def with_current_time(step: _Input) -> _Input:
    """Return the activity's input with the current workflow time: it may have waited for days."""
    return cast("_Input", replace(cast("Any", step), at=workflow.time()))


class ActivityCaller:
    """Calls the activities of one workflow.

    `state` returns the incident's state, to which it returns when the subject is there again. `on_missing` is called
    with whether a subject is missing.
    """

    def __init__(
        self,
        kind: WorkflowKind,
        subject_id: str,
        current_details: CurrentDetails,
        state: Callable[[], str] = lambda: "",
        on_missing: Callable[[bool], None] = lambda _missing: None,
    ) -> None:
        self._kind = kind
        self._subject_id = subject_id
        self._current_details = current_details
        self._state = state
        self._on_missing = on_missing
        self._causes: list[str] = []  # one for each activity that is retried at long intervals now

    async def execute(self, activity: Callable[[_Input], _Result], step: _Input, summary: str = "") -> _Result:
        """Return the activity's result, however long its subject is missing."""
        try:
            return await workflow.execute_activity(activity, step, **DEFAULT_RETRY, summary=summary)
        except ActivityError as error:
            cause = missing_subject_cause(error)
            if not cause:
                raise
        again = with_current_time(step)
        return await self.retry_while_missing(
            cause, lambda: workflow.execute_activity(activity, again, **MISSING_SUBJECT_RETRY, summary=summary)
        )

    async def retry_while_missing(self, cause: str, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Return the result of a call that retries at long intervals; staff is notified meanwhile."""
        await self._begin(cause)
        try:
            result = await call()
        except ActivityError:
            await self._end(cause)
            raise
        await self._end(cause)
        return result

    async def _begin(self, cause: str) -> None:
        """Notify staff, unless they know this cause."""
        known = cause in self._causes
        self._causes.append(cause)
        if not known:
            self._current_details.update(missing=f"Support staff is needed: {cause} It is retried every ten minutes.")
            self._on_missing(True)
            await self._record(cause, resolved=False)

    async def _end(self, cause: str) -> None:
        """Take the staff task back when nothing is missing any more."""
        self._causes.remove(cause)
        if not self._causes:
            self._current_details.update(missing="")
            self._on_missing(False)
            await self._record(cause, resolved=True)

    async def _record(self, cause: str, *, resolved: bool) -> None:
        missing = MissingSubject(self._kind, self._subject_id, cause, resolved, self._state(), workflow.time())
        summary = "subject found" if resolved else "subject missing"
        await workflow.execute_activity(activities.record_missing_subject, missing, **DEFAULT_RETRY, summary=summary)
