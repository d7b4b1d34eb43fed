"""The port that Prometheus scrapes, and the Temporal SDK's own beside it.

The SDK's metrics are served by its core: a common page would need a buffer between the two, which loses metrics when it
is not emptied in time.
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
from octy_worker.access.break_glass import HasRightCode
from octy_worker.observability.metrics.collector import DatabaseCollector
from octy_worker.observability.metrics.counters import WorkerCounters
from octy_worker.observability.metrics.server_connections import ServerConnectionsCollector
from octy_worker.observability.metrics.staff import StaffCollector
from octy_worker.settings import WorkerSettings
from octy_worker.web.child_process import new_counters
from octy_worker.web.connections import Limits
from octy_worker.web.web_server import serve_until, web_server

_LIMITS = Limits(connections=16, per_address=8)  # few servers scrape, and this process sends the alerts


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, database: Database, clock: Clock, has_right_code: HasRightCode) -> None:
        """`has_right_code`: judges rows of staff orders."""
        self.registry = CollectorRegistry()
        self.counters = WorkerCounters(self.registry)
        self.registry.register(DatabaseCollector(database, clock))
        self.registry.register(StaffCollector(database, clock, has_right_code))
        self.pages, self.staff_api = new_counters(), new_counters()
        self.registry.register(ServerConnectionsCollector(self.pages, prefix="octy_pages", served="the pages"))
        self.registry.register(
            ServerConnectionsCollector(self.staff_api, prefix="octy_staff_api", served="the staff API")
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    async def serve(self, settings: WorkerSettings, stop: asyncio.Event) -> None:
        """Serve the metrics until `stop` is set. Raises OSError if the port is in use."""
        app = Starlette(routes=[Route("/metrics", self._exposition), Route("/", self._exposition)])
        server = web_server(app, host=settings.metrics_host, port=settings.metrics_port, limits=_LIMITS)
        await serve_until(stop, server, "the metrics")

    def _exposition(self, request: Request) -> Response:
        """Return all metrics. No coroutine, so Starlette runs it in a thread: it reads the database."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"Content-Type": content_type})


def sdk_runtime(settings: WorkerSettings) -> Runtime | None:
    """Return an SDK runtime with its own metrics port, or None for the default runtime. At most one per process."""
    if not settings.metrics_sdk_port:
        return None
    address = f"{settings.metrics_host}:{settings.metrics_sdk_port}"
    prometheus = PrometheusConfig(
        bind_address=address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
    )
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=prometheus))
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(f"OCTY_METRICS_SDK_PORT: can't listen on {address}: {error}") from None
