"""Connections to the customers' pages as metrics, counted by their process in shared memory."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from octy_worker.web.connections import Figure

_ENDS = {
    "evicted": Figure.EVICTED,
    "refused": Figure.REFUSED,
    "timed_out": Figure.TIMED_OUT,
    "accept_error": Figure.ACCEPT_ERRORS,
}


class PagesCollector(Collector):
    """The counts of one process of pages; zeros where this worker runs none."""

    def __init__(self, figures: Sequence[float]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield GaugeMetricFamily(
            "octy_pages_connections", "Connections to the pages now.", value=self._figures[Figure.OPEN]
        )
        yield CounterMetricFamily(
            "octy_pages_connections_accepted",
            "Connections to the pages that were accepted.",
            value=self._figures[Figure.ACCEPTED],
        )
        dropped = CounterMetricFamily(
            "octy_pages_connections_dropped",
            "Connections to the pages that were closed by a limit, by limit.",
            labels=["limit"],
        )
        for name, figure in _ENDS.items():
            dropped.add_metric([name], self._figures[figure])
        yield dropped
        yield CounterMetricFamily(
            "octy_pages_starts", "Starts of the process that serves the pages.", value=self._figures[Figure.STARTS]
        )
