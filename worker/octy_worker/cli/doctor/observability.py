"""Metrics and tracing, where they are switched on: whether metrics are served and tracing is installed."""

import http.client
from collections.abc import Iterator
from importlib.util import find_spec

from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.network import error_text, open_url
from octy_worker.cli.doctor.problems import problem
from octy_worker.settings import WorkerSettings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # where such a listener is reached from here


def check_observability(settings: WorkerSettings, *, worker_runs: bool) -> Iterator[Check]:
    """Read the worker's metrics once, and look for the packages of tracing."""
    yield _check_metrics(settings, worker_runs=worker_runs)
    yield _check_tracing(settings)


def _check_metrics(settings: WorkerSettings, *, worker_runs: bool) -> Check:
    if not settings.metrics_port:
        return passed("metrics", "off: OCTY_METRICS_PORT is not set")
    host = _ANYWHERE.get(settings.metrics_host, settings.metrics_host)
    url = f"http://{host}:{settings.metrics_port}/metrics"
    if not worker_runs:
        return unchecked("metrics", "no worker is running")
    try:
        with open_url(url) as response:
            served = b"octy_database_up" in response.read()
    except (OSError, http.client.HTTPException) as error:
        return problem("metrics-unreachable", url=url, error=error_text(error))
    return passed("metrics", url) if served else problem("metrics-wrong-server", url=url)


def _check_tracing(settings: WorkerSettings) -> Check:
    if not settings.tracing:
        return passed("tracing", "off: OCTY_TRACING is not set")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return problem("tracing-packages-missing")
    return passed("tracing", "on; spans are sent to OTEL_EXPORTER_OTLP_ENDPOINT")
