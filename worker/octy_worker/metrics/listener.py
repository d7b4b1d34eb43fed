"""The listener that Prometheus reads, and the Temporal SDK's own beside it.

Here: what is registered and where it is served. Not here: any metric (`counts`, `collector`).

The SDK's metrics come from its core, which serves them itself: a buffer between it and one common page would have to
be emptied in time, and drops what does not fit.
"""

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from octy_middleware.clock import Clock
from octy_middleware.database import Database
from octy_middleware.errors import ConfigurationError
from octy_worker.metrics.collector import StoreCollector
from octy_worker.metrics.counts import Counts
from octy_worker.settings import WorkerSettings


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self.counts = Counts(self.registry)
        self.registry.register(StoreCollector(database, clock))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    async def serve(self, settings: WorkerSettings, stop: asyncio.Event) -> None:
        """Serve them until told to stop. Raises OSError when the port is taken."""
        place = f"{settings.metrics_host}:{settings.metrics_port}"
        try:
            server, thread = start_http_server(settings.metrics_port, settings.metrics_host, self.registry)
        except OSError:
            raise OSError(f"the metrics can't listen on {place}") from None
        try:
            await stop.wait()
        finally:
            server.shutdown()
            server.server_close()
            with suppress(RuntimeError):  # it never began
                thread.join()


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
