"""The way to Temporal: one place that knows address, namespace and options of a client.

Here: connecting. Not here: what is started or signalled (`relay`, `cli`), what runs (`daemon`).
"""

from temporalio.client import Client

from octy_middleware.errors import OctyError
from octy_worker.settings import WorkerSettings


class TemporalUnavailableError(OctyError):
    """Temporal can't be reached; the text says where it was looked for."""


async def connect(settings: WorkerSettings) -> Client:
    """Return a connected client; raise TemporalUnavailableError after the SDK's own short tries."""
    try:
        return await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    except RuntimeError as error:
        raise TemporalUnavailableError(
            f"Temporal can't be reached at {settings.temporal_address} "
            f"(namespace {settings.temporal_namespace}): {str(error)[:200]}"
        ) from None
