"""An interceptor that measures the offset between this host's clock and Temporal's at the start of each activity.

Temporal gives an activity the time at which the server started it; the activity runs a moment later.
"""

import time
from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from octy_middleware.clock import Clock


class ClockOffsetInterceptor(ClientInterceptor, Interceptor):
    """Calls `on_offset` with the seconds by which our clock is ahead. Workers take it from their client."""

    def __init__(self, on_offset: Callable[[float], None], clock: Clock = time.time) -> None:
        self._on_offset = on_offset
        self._clock = clock

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Return an interceptor that measures before the activity runs."""
        return _Inbound(next, self._on_offset, self._clock)


class _Inbound(ActivityInboundInterceptor):
    def __init__(
        self, next_interceptor: ActivityInboundInterceptor, on_offset: Callable[[float], None], clock: Clock
    ) -> None:
        super().__init__(next_interceptor)
        self._on_offset = on_offset
        self._clock = clock

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        """Measure, then run the activity."""
        self._on_offset(self._clock() - activity.info().started_time.timestamp())
        return await super().execute_activity(input)
