"""The way to Temporal: one place that knows address, namespace, keys and options of a client.

Here: connecting. Not here: what is started or signalled (`relay`, `cli`), what runs (`daemon`).
"""

import secrets
from collections.abc import Sequence
from typing import Protocol

from temporalio.client import Client, Interceptor
from temporalio.runtime import Runtime

from octy_middleware.errors import ConfigurationError, OctyError
from octy_middleware.keychain import Keychain
from octy_worker.encryption import converter
from octy_workflows.messages import main_task_queue


class TemporalUnavailableError(OctyError):
    """Temporal can't be reached; the text says where it was looked for."""


class QueueName(Protocol):
    """What names the installation's task queues; worker settings are one."""

    @property
    def temporal_task_queue(self) -> str:
        """The beginning of their names."""


def main_queue(settings: QueueName, installation: str) -> str:
    """Return the name of the main task queue of this installation, which no other installation uses."""
    return main_task_queue(settings.temporal_task_queue, installation)


class Place(Protocol):
    """Where Temporal is; worker settings are one."""

    @property
    def temporal_address(self) -> str:
        """Host and port."""

    @property
    def temporal_namespace(self) -> str:
        """The namespace of the workflows."""

    @property
    def temporal_keys(self) -> Keychain | None:
        """What payloads are encrypted with; None: they are not."""


async def connect(
    settings: Place,
    *,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
    for_worker: bool = False,
) -> Client:
    """Return a connected client; raise TemporalUnavailableError after the SDK's own short tries.

    `for_worker`: workflows run with it, which no message that can't be decrypted may stop (see `encryption`).
    """
    try:
        client = await Client.connect(
            settings.temporal_address,
            namespace=settings.temporal_namespace,
            data_converter=converter(settings.temporal_keys, secrets.token_bytes, refuse_quietly=for_worker),
            runtime=runtime,
            interceptors=interceptors,
        )
    except ValueError as error:
        raise ConfigurationError(
            f"OCTY_TEMPORAL_ADDRESS: {settings.temporal_address!r} is no address: {error}"
        ) from None
    except RuntimeError as error:
        raise TemporalUnavailableError(
            f"Temporal can't be reached at {settings.temporal_address} "
            f"(namespace {settings.temporal_namespace}): {str(error)[:200]}"
        ) from None
    return client
