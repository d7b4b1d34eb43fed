"""Metrics and tracing: whether what is switched on can be had.

Here: looks; the worker's own listener is read once. Not here: metrics (`octy_worker.observability.metrics`), spans
(`octy_worker.observability.tracing`).
"""

import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec

from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.settings import WorkerSettings

_TIMEOUT = 10.0  # seconds
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # where such a listener is found from here


def check_observability(settings: WorkerSettings, *, worker_runs: bool) -> Iterator[Check]:
    """Look for the worker's metrics, and for what tracing needs."""
    yield _check_metrics(settings, worker_runs=worker_runs)
    yield _check_tracing(settings)


def _check_metrics(settings: WorkerSettings, *, worker_runs: bool) -> Check:
    if not settings.metrics_port:
        return passed("metrics", "off: OCTY_METRICS_PORT is not set")
    host = _ANYWHERE.get(settings.metrics_host, settings.metrics_host)
    place = f"http://{host}:{settings.metrics_port}/metrics"
    if not worker_runs:
        return unchecked("metrics", "needs a worker")
    try:
        with urllib.request.urlopen(place, timeout=_TIMEOUT) as answer:  # http and our own address
            served = b"octy_store_up" in answer.read()
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        return problem("metrics-away", url=place, error=why)
    return passed("metrics", place) if served else problem("metrics-are-others", url=place)


def _check_tracing(settings: WorkerSettings) -> Check:
    if not settings.tracing:
        return passed("tracing", "off: OCTY_TRACING is not set")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return problem("tracing-packages-missing")
    return passed("tracing", "on; OTEL_EXPORTER_OTLP_ENDPOINT says where spans go")
