"""The listener that Prometheus reads, and the Temporal SDK's own beside it.

Here: what is registered and where it is served. Not here: any metric (`counts`, `collector`).

The SDK's metrics come from its core, which serves them itself: a buffer between it and one common page would have to
be emptied in time, and drops what does not fit.
"""

import asyncio

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.errors import ConfigurationError
from octy_worker.observability.metrics.collector import StoreCollector
from octy_worker.observability.metrics.counts import Counts
from octy_worker.observability.metrics.pages import PagesCollector
from octy_worker.pages.process import new_figures
from octy_worker.settings import WorkerSettings
from octy_worker.web.connections import Limits
from octy_worker.web.web_server import serve_until, web_server

_LIMITS = Limits(connections=16, per_address=8)  # readers are few, and this is the process that sends the alerts


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self.counts = Counts(self.registry)
        self.registry.register(StoreCollector(database, clock))
        self.pages = new_figures()
        self.registry.register(PagesCollector(self.pages))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    async def serve(self, settings: WorkerSettings, stop: asyncio.Event) -> None:
        """Serve them until told to stop. Raises OSError when the port is taken."""
        app = Starlette(routes=[Route("/metrics", self._exposition), Route("/", self._exposition)])
        server = web_server(app, host=settings.metrics_host, port=settings.metrics_port, limits=_LIMITS)
        await serve_until(stop, server, "the metrics")

    def _exposition(self, request: Request) -> Response:
        """Return all metrics. It is no coroutine, so Starlette runs it in a thread: it asks the store."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"Content-Type": content_type})


def sdk_runtime(settings: WorkerSettings) -> Runtime | None:
    """Return the SDK's core with a listener of its own, or None for the common one. One a process."""
    if not settings.metrics_sdk_port:
        return None
    place = f"{settings.metrics_host}:{settings.metrics_sdk_port}"
    prometheus = PrometheusConfig(
        bind_address=place, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
    )
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=prometheus))
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(f"OCTY_METRICS_SDK_PORT: can't listen on {place}: {error}") from None
