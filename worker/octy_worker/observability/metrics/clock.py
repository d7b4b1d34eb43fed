"""How far the clock of this host is from Temporal's, seen whenever an activity begins.

Here: an interceptor. Temporal gives an activity the time at which it was handed out; it begins a moment later.
"""

import time
from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from octy_middleware.clock import Clock


class ClockInterceptor(ClientInterceptor, Interceptor):
    """Gives `tell` the seconds by which our clock is ahead. The client hands it on to the workers."""

    def __init__(self, tell: Callable[[float], None], clock: Clock = time.time) -> None:
        self._tell = tell
        self._clock = clock

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Return what looks at the clock before the activity."""
        return _Inbound(next, self._tell, self._clock)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, after: ActivityInboundInterceptor, tell: Callable[[float], None], clock: Clock) -> None:
        super().__init__(after)
        self._tell = tell
        self._clock = clock

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        """Look at the clock, then do what is asked."""
        self._tell(self._clock() - activity.info().started_time.timestamp())
        return await super().execute_activity(input)
