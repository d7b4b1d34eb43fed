"""Pollers of this installation's task queues: which workers, of which release, and when they polled last."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from octy_worker.temporal.client import parse_release, worker_release
from octy_workflows.task_queues import all_task_queues, workflow_task_queues

_RECENT = 75.0  # seconds; a long poll is renewed after 60
_POLLER_TTL = 300.0  # seconds for which the server lists a poller that has stopped


@dataclass(frozen=True, slots=True)
class TaskQueuePollers:
    """One task queue, for workflows or for activities, with (identity, last poll) of its pollers; server clock."""

    queue: str
    pollers: tuple[tuple[str, float], ...]


async def fetch_pollers(client: Client, task_queue: str) -> list[TaskQueuePollers]:
    """Return the pollers of each task queue of the installation. Raises RPCError."""
    activity, task = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    wanted = [(queue, activity) for queue in all_task_queues(task_queue)]
    wanted += [(queue, task) for queue in workflow_task_queues(task_queue)]
    return list(await asyncio.gather(*(_describe(client, queue, kind) for queue, kind in wanted)))


async def _describe(client: Client, queue: str, kind: TaskQueueType.ValueType) -> TaskQueuePollers:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    answer = await client.workflow_service.describe_task_queue(request)
    return TaskQueuePollers(queue, tuple((each.identity, _seen(each)) for each in answer.pollers))


def _seen(poller: PollerInfo) -> float:
    return poller.last_access_time.ToDatetime(UTC).timestamp()


def queues_without_pollers(polled: Sequence[TaskQueuePollers], now: float) -> list[str]:
    """Return the queues, for workflows or activities, that no worker polled just now."""
    return sorted({each.queue for each in polled if all(seen < now - _RECENT for _, seen in each.pollers)})


def other_releases(polled: Sequence[TaskQueuePollers], now: float) -> dict[str, str]:
    """Return the workers that polled just now and run another release or schema: identity to release."""
    alive = {identity for identity, seen in _all(polled) if seen >= now - _RECENT}
    releases = {identity: parse_release(identity) for identity in alive}
    return {identity: release for identity, release in releases.items() if release != worker_release()}


def clock_difference(polled: Sequence[TaskQueuePollers], now: float) -> float:
    """Return how many seconds the server's clock is certainly ahead of `now`, negative when behind; 0 if not seen.

    A poll in the future shows that it is ahead; a poll older than the server lists shows that it is behind.
    """
    newest = max((seen for _, seen in _all(polled)), default=now)
    if newest < now - _POLLER_TTL:
        return newest - now
    return max(0.0, newest - now)


def _all(polled: Sequence[TaskQueuePollers]) -> Iterator[tuple[str, float]]:
    return (poller for each in polled for poller in each.pollers)
