"""Alerts first: work that nobody waits for is not begun while an alert is on its way to the mail server.

Here: which alerts are in progress in this worker process, and who waits for them. Not here: the order in which messages
are claimed (`claims`), slots for each kind of work (`task_queue_workers`).

Task queues and slots of their own do not share out the CPU, the interpreter, the database's write lock and Temporal's
server. Only work that has not begun leaves all of these to an alert.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from octy_workflows.task_queues import TaskQueueKind

ALERT_TIMEOUT = 2.0
"""Seconds after which an alert counts no longer: its mail server hangs, or another worker sends it."""

MAX_DELAY = 2.0
"""Seconds that a piece of work waits at most: attacks on one key after the other must not stop notices."""

LOW_PRIORITY = frozenset({TaskQueueKind.NOTICES, TaskQueueKind.WEBHOOKS})
"""The task queues whose activities wait."""


class AlertsInProgress:
    """The alerts that the relay has claimed and whose first try is not over. Used from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}  # by incident id
        self._changed = asyncio.Event()

    def begin(self, incident_id: str) -> None:
        """Note that an alert is on its way, for `ALERT_TIMEOUT` at most."""
        now = self._clock()
        self._until = {each: until for each, until in self._until.items() if until > now}
        self._until[incident_id] = now + ALERT_TIMEOUT

    def end(self, incident_id: str) -> None:
        """Note that the alert's first try is over, however it ended."""
        if self._until.pop(incident_id, None) is not None:
            self._changed.set()

    async def wait(self) -> None:
        """Return when no alert is in progress, or after `MAX_DELAY`."""
        deadline = self._clock() + MAX_DELAY
        while (left := min(deadline, max(self._until.values(), default=0.0)) - self._clock()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()


def interceptors(alerts: AlertsInProgress, work: TaskQueueKind | None) -> list[Interceptor]:
    """Return what the worker of a task queue needs for it; None: of the main one."""
    if work is TaskQueueKind.ALERTS:
        return [_Intercepted(lambda following: _EndsAlert(following, alerts))]
    if work in LOW_PRIORITY:
        return [_Intercepted(lambda following: _WaitsForAlerts(following, alerts))]
    return []


class _Intercepted(Interceptor):
    def __init__(self, make: Callable[[ActivityInboundInterceptor], ActivityInboundInterceptor]) -> None:
        self._make = make

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002  # its name there
        return self._make(next)


class _EndsAlert(ActivityInboundInterceptor):
    """Ends an alert with the first try of its mail."""

    def __init__(self, following: ActivityInboundInterceptor, alerts: AlertsInProgress) -> None:
        super().__init__(following)
        self._alerts = alerts

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002  # its name there
        try:
            return await super().execute_activity(input)
        finally:
            [order] = input.args
            self._alerts.end(order.subject_id)


class _WaitsForAlerts(ActivityInboundInterceptor):
    """Begins an activity when no alert is in progress."""

    def __init__(self, following: ActivityInboundInterceptor, alerts: AlertsInProgress) -> None:
        super().__init__(following)
        self._alerts = alerts

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002  # its name there
        await self._alerts.wait()
        return await super().execute_activity(input)
