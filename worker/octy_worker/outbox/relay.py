"""Outbox → Temporal: each message at least once, in its subject's order, and "already there" means delivered.

Here: delivery, and what holds it up. Not here: putting messages down (`octy_middleware.domain.outbox`), sharing them with
other relays (`claims`), what each is to a workflow (`meanings`), connecting (`temporal`).

Everything is a signal-with-start or a start: should a message about a case come before its workflow runs, the
workflow starts with it. A closed workflow is not started again; its message is delivered, for there is nobody to
hear it.

An outage holds everything back until it is over. A message that is itself at fault holds nothing back but the later
ones of its own subject: it is tried five times, with pauses, then set aside, and stays in the outbox as undelivered,
with its fault.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.domain.installation import installation_id
from octy_middleware.domain.outbox import TRIES, Priority
from octy_middleware.errors import OctyError
from octy_worker.mail.alert_priority import AlertsInProgress
from octy_worker.outbox.dispatch import Call, MessageDispatch
from octy_worker.outbox.leases import DeliveryResult, Fate, Leases, Message
from octy_worker.outbox.listener import OutboxListener
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import refusal_of

_logger = logging.getLogger(__name__)

_AHEAD = 4  # messages claimed at once for each that is delivered at a time
_OF_LEASE = 2 / 3  # of a lease is for delivery; in the rest, what was given up may still arrive
_BACKOFF_LIMIT = 10.0  # seconds at most between two tries while Temporal is away

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_NOTICE_INTERVAL = 4.0  # seconds by relay_concurrency: two notices a second by default, each some ten tasks of Temporal
_LOW_PRIORITY = frozenset({Priority.NOTICE, Priority.WEBHOOK})  # not begun while an alert is on its way

_ANEW = WorkflowIDReusePolicy.ALLOW_DUPLICATE  # SQL says that the closed workflow's work is not done

_OF_THE_MESSAGE = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.DATA_LOSS,
    }
)
"""What Temporal answers to one message. Every other status is an outage: a server that is away or ill, a namespace or
a right that is missing would meet all messages alike, and giving up on them one by one would lose every alert."""


@dataclass(frozen=True, slots=True)
class Round:
    """What became of the messages that waited; a failed one has its fault in its row."""

    delivered: int
    failed: int


class Relay:
    """Delivers the outbox of one database, beside any number of other relays. `heard` is told what became of each."""

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: WorkerSettings,
        clock: Clock,
        *,
        heard: Callable[[DeliveryResult], None] = lambda _end: None,
        span_of: Callable[[Message], AbstractContextManager[object]] | None = None,
        alerts: AlertsInProgress | None = None,
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._widths = _widths(settings.relay_concurrency)
        self._claims = Leases(database, clock, _name(), settings.relay_lease)
        installation = installation_id(database)
        self._meanings = MessageDispatch(database, settings, installation)
        self._heard = heard
        self._span_of = span_of or (lambda _message: nullcontext())
        self._alerts = alerts or AlertsInProgress()
        self._notice_interval = _NOTICE_INTERVAL / settings.relay_concurrency
        self._next_notice = 0.0  # by the loop's clock
        self._rung = asyncio.Event()
        self._turns_at_call = {priority: asyncio.Semaphore(width) for priority, width in self._widths.items()}
        self._under_way: dict[asyncio.Task[None], Priority] = {}
        # Each delivery under way, and claims, find a thread: asyncio's own are few, and shared with everything.
        self._threads = ThreadPoolExecutor(sum(self._widths.values()) + 1, thread_name_prefix="octy-relay")
        self._ends: list[DeliveryResult] = []  # not written down yet
        self._taking: asyncio.Task[list[Message]] | None = None
        self._outage: Exception | None = None
        self._delivered = 0

    async def run(self) -> None:
        """Deliver until cancelled; nothing else ends it. What goes wrong for all messages is waited out."""
        wait = 0.0
        bell = OutboxListener(self._database.listen(), self._rung)
        try:
            while True:
                before = self._delivered
                try:
                    await self.deliver_some()
                except Exception as error:  # noqa: BLE001  # an outage, or a fault of ours: messages wait, none is lost
                    wait = _longer(0.0 if self._delivered > before else wait)
                    _logger.warning("relay: %s; next try in %.1f s", _told(error), wait)
                    await asyncio.sleep(wait)
                else:
                    wait = 0.0
                    await self._wait()
        finally:
            try:
                await self._leave()
            finally:
                await bell.stop()

    async def deliver_some(self) -> Round:
        """Deliver all that this relay may take now, and what comes meanwhile. An outage is raised."""
        self._outage = None
        delivered = failed = 0
        while True:
            self._rung.clear()
            ends = await self._take()
            delivered += sum(end.fate is Fate.DELIVERED for end in ends)
            failed += sum(end.fate is Fate.AT_FAULT for end in ends)
            if self._under_way:
                await self._wait()
            elif not self._ends:
                break
        if self._outage is not None:
            raise self._outage
        return Round(delivered, failed)

    async def _take(self) -> Sequence[DeliveryResult]:
        """Write down what has ended, and begin to deliver what could be claimed. Return what was written down."""
        free = [] if self._outage else [priority for priority in Priority if self._has_room(priority)]
        ends = self._ends
        if not free and not ends:
            return ends
        deadline = asyncio.get_running_loop().time() + self._settings.relay_lease * _OF_LEASE
        self._ends = []
        limits = {priority: self._widths[priority] * _AHEAD for priority in free}
        self._taking = asyncio.create_task(self._claim(ends, limits))
        for message in await asyncio.shield(self._taking):
            if message.priority is Priority.ALERT:
                self._alerts.begin(message.subject_id)
            task = asyncio.create_task(self._deliver(message, deadline))
            self._under_way[task] = message.priority
            task.add_done_callback(self._under_way.pop)
        return ends

    def _has_room(self, priority: Priority) -> bool:
        return sum(each is priority for each in self._under_way.values()) < self._widths[priority]

    async def _claim(self, ends: list[DeliveryResult], limits: Mapping[Priority, int]) -> list[Message]:
        try:
            claimed = await self._in_thread(self._claims.take, ends, limits)
        except BaseException:
            self._ends = ends + self._ends  # to be written down the next time
            raise
        for end in ends:
            _tell(end)
            self._heard(end)
        return claimed

    async def _wait(self) -> None:
        """Wait until there is something to do: room for more, a delivery that has ended, a ring, or time to look.

        While a priority is full, its deliveries that end wait to be written down until it has room, or until there is
        something to do for the others: fewer transactions.
        """
        full = {priority for priority in Priority if not self._has_room(priority)}
        if any(end.message.priority not in full for end in self._ends):  # while others were claimed
            return
        ringing = asyncio.create_task(self._rung.wait())
        until = asyncio.get_running_loop().time() + self._settings.relay_interval
        try:
            while not ringing.done() and (left := until - asyncio.get_running_loop().time()) > 0:
                still_full: set[asyncio.Task[Any]] = {task for task, of in self._under_way.items() if of in full}
                running: set[asyncio.Task[Any]] = {ringing, *self._under_way}
                ended, _ = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if ended - still_full or any(map(self._has_room, full)):
                    return
        finally:
            ringing.cancel()

    async def _deliver(self, message: Message, deadline: float) -> None:
        """Deliver one message well before its lease ends, and note what became of it."""
        async with self._turns_at_call[message.priority]:
            if self._outage is not None:
                self._ends.append(DeliveryResult(message, Fate.HELD_BACK))
                return
            try:
                async with asyncio.timeout_at(deadline):
                    await self._its_turn(message.priority)
                    with self._span_of(message):
                        await self._send(await self._in_thread(self._meanings.call_for, message))
            except Exception as error:  # noqa: BLE001  # of whatever kind, it is told in the message's row
                if _is_outage(error):
                    self._outage = self._outage or error
                    self._ends.append(DeliveryResult(message, Fate.HELD_BACK, _fault(error)))
                else:
                    self._ends.append(DeliveryResult(message, Fate.AT_FAULT, _fault(error)))
            else:
                self._delivered += 1
                self._ends.append(DeliveryResult(message, Fate.DELIVERED))

    async def _its_turn(self, priority: Priority) -> None:
        """Let alerts go first, and start notices at a limited rate: what waits here is merged, and takes no CPU."""
        if priority is Priority.NOTICE:
            now = asyncio.get_running_loop().time()
            at = max(now, self._next_notice)
            self._next_notice = at + self._notice_interval
            await asyncio.sleep(at - now)
        if priority in _LOW_PRIORITY:
            await self._alerts.wait()

    async def _send(self, call: Call) -> None:
        try:
            await self._client.start_workflow(
                call.run,
                call.argument,
                id=call.workflow_id,
                task_queue=call.task_queue,
                id_reuse_policy=_ANEW if call.again else WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=call.summary,
                static_details=call.details,
                request_eager_start=call.signal is None,  # this process may have the first task without asking for it
                **call.start_signal,
            )
        except WorkflowAlreadyStartedError:
            _logger.info("relay: %s has ended; nobody hears %s", call.workflow_id, call.signal or "its start")

    async def _leave(self) -> None:
        """Stop delivering, and leave what is not delivered to others at once."""
        for task in self._under_way:
            task.cancel()
        unfinished = {*self._under_way, *({self._taking} if self._taking else ())}
        if unfinished:
            await asyncio.wait(unfinished)
        try:
            await self._in_thread(self._claims.leave, self._ends)
        except Exception as error:  # noqa: BLE001  # the store is away: leases end by themselves, and the stop goes on
            _logger.warning("relay: %s; its claims end by themselves", _told(error))
        # A cancelled task's thread goes on: it gives its connection back before the database is closed.
        await asyncio.to_thread(self._threads.shutdown)

    async def _in_thread(
        self, do: Callable[_Arguments, _Result], *given: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(do, *given, **named))


def _widths(width: int) -> dict[Priority, int]:
    """Return how many messages of each priority are delivered at a time.

    Temporal's server writes one start after the other: what nobody waits for must not stand before an alert there.
    """
    return {
        Priority.ALERT: width,
        Priority.ANSWER: max(1, width // 2),
        Priority.NOTICE: max(1, width // 8),
        Priority.WEBHOOK: max(1, width // 8),
    }


def _name() -> str:
    """Return a name that no other relay has, and that tells support staff where this one runs."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"


def _tell(end: DeliveryResult) -> None:
    if end.fate is not Fate.AT_FAULT:
        return
    number, tries = end.message.number, end.message.tries + 1
    if tries >= TRIES:
        _logger.error(
            "relay: message %d of the outbox is set aside after %d tries: %s; `octy outbox retry %d` tries it again",
            number,
            tries,
            end.fault,
            number,
        )
    else:
        _logger.warning("relay: message %d of the outbox, try %d of %d: %s", number, tries, TRIES, end.fault)


def _longer(wait: float) -> float:
    return min(max(wait, 0.25) * 2, _BACKOFF_LIMIT)


def _is_outage(error: Exception) -> bool:
    if isinstance(error, RPCError):
        return error.status not in _OF_THE_MESSAGE
    return isinstance(error, OctyError | TimeoutError)


def _fault(error: Exception) -> str:
    """Return type and code: an error's text may repeat what the message holds."""
    name = type(error).__name__
    return f"{name} {error.status.name}" if isinstance(error, RPCError) else name


def _told(error: Exception) -> str:
    """Return what the log says: Temporal's words and ours are about servers, not about customers."""
    told = isinstance(error, RPCError) and refusal_of(error)
    text = f": {told or error}" if isinstance(error, RPCError | OctyError) and _is_outage(error) else ""
    return f"{_fault(error)}{text}"[:300]
