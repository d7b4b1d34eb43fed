"""Metrics of the processes that serve the pages and the staff API: their connections, counted in shared memory."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from octy_worker.observability.metrics.collector import labelled_counter
from octy_worker.web.connections import ConnectionCounter

_LIMITS = {
    "evicted": ConnectionCounter.EVICTED,
    "refused": ConnectionCounter.REFUSED,
    "timed_out": ConnectionCounter.TIMED_OUT,
    "accept_error": ConnectionCounter.ACCEPT_ERRORS,
}


class ServerConnectionsCollector(Collector):
    """The counters of one server process; zeros if this worker runs none.

    `prefix`: of the metrics' names. `served`: what it serves, as in "the pages".
    """

    def __init__(self, counters: Sequence[float], *, prefix: str, served: str) -> None:
        self._counters = counters
        self._prefix = prefix
        self._served = served

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield GaugeMetricFamily(
            f"{self._prefix}_connections",
            f"Open connections to {self._served}.",
            value=self._counters[ConnectionCounter.OPEN],
        )
        yield CounterMetricFamily(
            f"{self._prefix}_connections_accepted",
            f"Accepted connections to {self._served}.",
            value=self._counters[ConnectionCounter.ACCEPTED],
        )
        yield labelled_counter(
            f"{self._prefix}_connections_dropped",
            f"Connections to {self._served} that a limit closed, by limit.",
            "limit",
            {name: self._counters[figure] for name, figure in _LIMITS.items()},
        )
        yield CounterMetricFamily(
            f"{self._prefix}_starts",
            f"Starts of the process that serves {self._served}.",
            value=self._counters[ConnectionCounter.STARTS],
        )
