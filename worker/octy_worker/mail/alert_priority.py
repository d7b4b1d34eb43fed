"""Gives alerts priority: notices and webhooks do not start while an alert is being sent by this worker process.

Task queues with their own slots still share CPU, interpreter, database lock and Temporal server. Only work that has not
started leaves all of these to an alert.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from octy_workflows.task_queues import TaskQueueKind

ALERT_TIMEOUT = 2.0
"""Seconds after which other work no longer waits for an alert: its mail server hangs, or another worker sends it."""

MAX_DELAY = 2.0
"""Maximum delay of other work in seconds: attacks on one key after the other must not stop notices."""

LOW_PRIORITY = frozenset({TaskQueueKind.NOTICES, TaskQueueKind.WEBHOOKS})
"""Task queues whose activities wait for alerts."""


class AlertsInProgress:
    """Alerts that the relay has leased and whose first attempt is not finished. Used from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}  # by incident id
        self._changed = asyncio.Event()

    def begin(self, incident_id: str) -> None:
        """Add an alert, for at most `ALERT_TIMEOUT` seconds."""
        now = self._clock()
        self._until = {each: until for each, until in self._until.items() if until > now}
        self._until[incident_id] = now + ALERT_TIMEOUT

    def end(self, incident_id: str) -> None:
        """Remove an alert: its first attempt is finished, with any result."""
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
    """Return the interceptors for the worker of a task queue; None is the main queue."""
    if work is TaskQueueKind.ALERTS:
        return [_Intercepted(_EndsAlert, alerts)]
    if work in LOW_PRIORITY:
        return [_Intercepted(_WaitsForAlerts, alerts)]
    return []


class _Activity(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, alerts: AlertsInProgress) -> None:
        super().__init__(following)
        self._alerts = alerts


class _Intercepted(Interceptor):
    def __init__(self, activity: type[_Activity], alerts: AlertsInProgress) -> None:
        self._activity = activity
        self._alerts = alerts

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002  # its name there
        return self._activity(next, self._alerts)


class _EndsAlert(_Activity):
    """Removes an alert after the first attempt to send its mail."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002  # its name there
        try:
            return await super().execute_activity(input)
        finally:
            [order] = input.args
            self._alerts.end(order.subject_id)


class _WaitsForAlerts(_Activity):
    """Starts an activity when no alert is in progress."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002  # its name there
        await self._alerts.wait()
        return await super().execute_activity(input)
