"""Access to Temporal for staff commands: connecting, checking for a running worker, worker versions.

Importing this imports the Temporal SDK, which is slow: commands import it only when they need it.
"""

import asyncio

from temporalio.client import Client
from temporalio.service import RPCError

from octy_worker.errors import UnavailableError
from octy_worker.settings import TemporalAccess
from octy_worker.temporal.client import connect
from octy_worker.temporal.deployment import NotReadyError, Version, known_versions, make_current
from octy_worker.temporal.pollers import fetch_pollers, queues_without_pollers

_CONNECT_TIMEOUT = 10.0  # seconds
_RETRY_INTERVAL = 0.25  # seconds


async def open_client(access: TemporalAccess, *, connect_timeout: float = _CONNECT_TIMEOUT) -> Client:
    """Return a connected client; raise UnavailableError or ConfigurationError with what to do."""
    try:
        async with asyncio.timeout(connect_timeout):
            return await connect(access)
    except TimeoutError:
        where = access.temporal_connection().address
        raise UnavailableError(
            f"Temporal at {where} did not answer within {connect_timeout:g} s", "`octy doctor` checks everything"
        ) from None


async def has_worker(client: Client, task_queue: str, now: float) -> bool:
    """Whether workers polled every task queue just now."""
    return not queues_without_pollers(await fetch_pollers(client, task_queue), now)


async def fetch_versions(access: TemporalAccess) -> list[Version]:
    """Return the worker versions that Temporal knows. Raises UnavailableError."""
    client = await open_client(access)
    try:
        return await known_versions(client, access.temporal_deployment)
    except RPCError as error:
        raise UnavailableError(f"Temporal did not list worker versions: {error.message}", "run `octy doctor`") from None


async def promote_version(access: TemporalAccess, build_id: str, *, identity: str, retry_for: float) -> None:
    """Make the version current, retrying for `retry_for` seconds. Raises UnavailableError."""
    client = await open_client(access)
    deadline = asyncio.get_running_loop().time() + retry_for
    while True:
        try:
            await make_current(client, access.temporal_deployment, build_id, identity)
        except NotReadyError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise UnavailableError(
                    f"{build_id or 'unversioned'} was not made current: {error}", "start its `octy worker`, then repeat"
                ) from None
            await asyncio.sleep(_RETRY_INTERVAL)
        except RPCError as error:
            raise UnavailableError(
                f"Temporal did not promote the version: {error.message}", "run `octy doctor`"
            ) from None
        else:
            return
