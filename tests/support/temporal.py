"""A real Temporal server on the real clock, with no worker: for tests that look at what it was told."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from octy_worker.dev.temporal_server import find_temporal

_Result = TypeVar("_Result")

ONE_PARTITION = (
    *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
    *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
)
"""Options of a server: a task queue has one partition in place of four, which are for many servers, and need CPU."""


@dataclass(frozen=True)
class Temporal:
    """The server's client, and the loop that it lives in."""

    client: Client
    address: str
    runner: asyncio.Runner

    def run(self, act: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(act)


@contextmanager
def open_temporal(*more: str) -> Iterator[Temporal]:
    """Start a server, with more words on its command line."""
    with asyncio.Runner() as runner:
        env = runner.run(
            WorkflowEnvironment.start_local(
                dev_server_existing_path=find_temporal(),
                dev_server_log_level="error",
                dev_server_extra_args=[*ONE_PARTITION, *more],
            )
        )
        try:
            yield Temporal(env.client, env.client.service_client.config.target_host, runner)
        finally:
            runner.run(env.shutdown())
