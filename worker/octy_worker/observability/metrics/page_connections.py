"""Metrics of the pages process: its connections, counted in shared memory."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from octy_worker.web.connections import ConnectionCounter

_LIMITS = {
    "evicted": ConnectionCounter.EVICTED,
    "refused": ConnectionCounter.REFUSED,
    "timed_out": ConnectionCounter.TIMED_OUT,
    "accept_error": ConnectionCounter.ACCEPT_ERRORS,
}


class PageConnectionsCollector(Collector):
    """The counters of the pages process; zeros if this worker runs none."""

    def __init__(self, counters: Sequence[float]) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield GaugeMetricFamily(
            "octy_pages_connections", "Open connections to the pages.", value=self._counters[ConnectionCounter.OPEN]
        )
        yield CounterMetricFamily(
            "octy_pages_connections_accepted",
            "Accepted connections to the pages.",
            value=self._counters[ConnectionCounter.ACCEPTED],
        )
        dropped = CounterMetricFamily(
            "octy_pages_connections_dropped",
            "Connections to the pages that a limit closed, by limit.",
            labels=["limit"],
        )
        for name, figure in _LIMITS.items():
            dropped.add_metric([name], self._counters[figure])
        yield dropped
        yield CounterMetricFamily(
            "octy_pages_starts",
            "Starts of the process that serves the pages.",
            value=self._counters[ConnectionCounter.STARTS],
        )
