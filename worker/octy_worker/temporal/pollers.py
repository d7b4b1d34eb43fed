"""Who asks Temporal for this installation's work: on which task queues, of which release, and seen when.

Here: the question, and what follows from the answer. Not here: who is told (`cli`).
"""

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

_ALIVE = 75.0  # seconds; a long poll is renewed after 60
_REMEMBERED = 300.0  # seconds for which the server remembers who does not ask any more, by its own clock


@dataclass(frozen=True, slots=True)
class TaskQueuePollers:
    """One task queue, for workflows or for activities, and when who asked for its work last, by the server's clock."""

    queue: str
    pollers: tuple[tuple[str, float], ...]


async def fetch_pollers(client: Client, task_queue: str) -> list[TaskQueuePollers]:
    """Return who asks for work on each queue that begins with this one. Raises RPCError."""
    activity, task = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    wanted = [(queue, activity) for queue in all_task_queues(task_queue)]
    wanted += [(queue, task) for queue in workflow_task_queues(task_queue)]
    return list(await asyncio.gather(*(_polled(client, queue, kind) for queue, kind in wanted)))


async def _polled(client: Client, queue: str, kind: TaskQueueType.ValueType) -> TaskQueuePollers:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    answer = await client.workflow_service.describe_task_queue(request)
    return TaskQueuePollers(queue, tuple((each.identity, _seen(each)) for each in answer.pollers))


def _seen(poller: PollerInfo) -> float:
    return poller.last_access_time.ToDatetime(UTC).timestamp()


def queues_without_pollers(polled: Sequence[TaskQueuePollers], now: float) -> list[str]:
    """Return the queues for which nobody asked for work just now, of either kind, workflows and activities."""
    return sorted({each.queue for each in polled if all(seen < now - _ALIVE for _, seen in each.pollers)})


def other_releases(polled: Sequence[TaskQueuePollers], now: float) -> dict[str, str]:
    """Return the workers that asked just now and run another release or schema than this one, and which."""
    alive = {identity for identity, seen in _all(polled) if seen >= now - _ALIVE}
    releases = {identity: parse_release(identity) for identity in alive}
    return {identity: release for identity, release in releases.items() if release != worker_release()}


def clock_difference(polled: Sequence[TaskQueuePollers], now: float) -> float:
    """Return how many seconds the server's clock is certainly ahead of `now`, negative when behind; 0 if not seen.

    Who was seen in the future tells that it is ahead; who is remembered for longer than the server does, that it is
    behind.
    """
    newest = max((seen for _, seen in _all(polled)), default=now)
    if newest < now - _REMEMBERED:
        return newest - now
    return max(0.0, newest - now)


def _all(polled: Sequence[TaskQueuePollers]) -> Iterator[tuple[str, float]]:
    return (poller for each in polled for poller in each.pollers)
