"""Temporal, as staff commands reach it: an address, a namespace, and the keys of payloads where these are encrypted.

Here: connecting, and finding out whether a worker is there to listen. Not here: what is said to it (`deciding`).
Loading this loads the Temporal SDK: commands import it on use, and `octy_worker.cli.leave` ends the process.
"""

import asyncio
from typing import Self

from temporalio.client import Client
from temporalio.service import RPCError

from octy_middleware.settings import Keys
from octy_worker.errors import UnavailableError
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import TemporalUnavailableError, connect
from octy_worker.temporal.deployment import NotReadyError, Version, known_versions, make_current
from octy_worker.temporal.pollers import fetch_pollers, queues_without_pollers
from octy_worker.temporal_connection import TemporalSettings

_CONNECT_TIMEOUT = 10.0  # seconds
_PAUSE = 0.25  # seconds between two tries


def _default(name: str) -> str:
    return str(WorkerSettings.model_fields[name].default)


class TemporalAccess(TemporalSettings):
    """What a staff command must know of Temporal; the defaults are the worker's."""

    temporal_task_queue: str = _default("temporal_task_queue")
    temporal_keys: Keys | None = None
    temporal_deployment: str = ""
    temporal_build_id: str = _default("temporal_build_id")

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """Return that part of a worker's settings."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields}).with_temporal(
            settings.temporal_variables
        )


async def open_client(place: TemporalAccess) -> Client:
    """Return a connected client; raise UnavailableError or ConfigurationError with what to do."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            return await connect(place)
    except TemporalUnavailableError as error:
        raise UnavailableError(error.wrong, error.to_do) from None
    except TimeoutError:
        where = place.temporal_connection().address
        raise UnavailableError(
            f"Temporal at {where} did not answer within {_CONNECT_TIMEOUT:g} s", "`octy doctor` looks at everything"
        ) from None


async def has_worker(client: Client, task_queue: str, now: float) -> bool:
    """Tell whether workers asked for work on every task queue just now."""
    return not queues_without_pollers(await fetch_pollers(client, task_queue), now)


async def fetch_versions(place: TemporalAccess) -> list[Version]:
    """Return the worker's versions that Temporal knows; raise UnavailableError when it doesn't answer."""
    client = await open_client(place)
    try:
        return await known_versions(client, place.temporal_deployment)
    except RPCError as error:
        raise UnavailableError(f"Temporal did not tell: {error.message}", "`octy doctor` looks closer") from None


async def promote_version(place: TemporalAccess, build_id: str, *, identity: str, patience: float) -> None:
    """Make the version current as soon as Temporal lets us; raise UnavailableError when that takes too long."""
    client = await open_client(place)
    until = asyncio.get_running_loop().time() + patience
    while True:
        try:
            await make_current(client, place.temporal_deployment, build_id, identity)
        except NotReadyError as error:
            if asyncio.get_running_loop().time() >= until:
                raise UnavailableError(
                    f"{build_id or 'unversioned'} is not made current: {error}", "start its `octy worker`, then repeat"
                ) from None
            await asyncio.sleep(_PAUSE)
        except RPCError as error:
            raise UnavailableError(f"Temporal did not do it: {error.message}", "`octy doctor` looks closer") from None
        else:
            return
