"""The relay: delivers outbox messages to Temporal, each at least once and in the order of its subject.

Every message is a start or a signal-with-start, so a message that arrives before its workflow runs starts it. A closed
workflow is not started again: "already started" counts as delivered.

An outage of Temporal or of the database delays all messages until it is over. A message that fails for a reason of its
own delays only the later messages of its subject: it is tried five times, with backoff, and is then a dead letter,
which stays undelivered in the outbox with its last error.
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
from typing import Any, TypeVar, TypeVarTuple

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS, Priority
from octy_middleware.errors import OctyError
from octy_worker.mail.alert_priority import AlertsInProgress
from octy_worker.outbox.dispatch import MessageDispatch, WorkflowCall
from octy_worker.outbox.leases import DeliveryResult, DeliveryStatus, Leases, Message
from octy_worker.outbox.listener import OutboxListener
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import permission_advice

_logger = logging.getLogger(__name__)

_PREFETCH = 4  # messages leased at once for each concurrent delivery
DELIVERY_SHARE = 2 / 3  # of a lease is for delivery; a call that timed out may still arrive in the rest
_BACKOFF_LIMIT = 10.0  # seconds at most between two attempts during an outage

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

NOTICE_INTERVAL = 4.0  # seconds by relay_concurrency: two notices a second by default, each some ten Temporal tasks
_LOW_PRIORITY = frozenset({Priority.NOTICE, Priority.WEBHOOK})  # not started while an alert is being sent

_RESTART = WorkflowIDReusePolicy.ALLOW_DUPLICATE  # SQL says that the closed workflow's work is not done

_MESSAGE_ERRORS = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.DATA_LOSS,
    }
)
"""Statuses that concern one message. Every other status is an outage: an unavailable server, a missing namespace or a
missing permission fails all messages alike, and giving up on them one by one would lose every alert."""


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How many messages were delivered, and how many failed; a failed one has its error in its row."""

    delivered: int
    failed: int


class Relay:
    """Delivers the outbox of one database, beside any number of other relays.

    `on_result` is called with each recorded result; `span_of` returns the trace span of a delivery.
    `notice_interval`: seconds between two notices, times `relay_concurrency`.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: WorkerSettings,
        clock: Clock,
        *,
        on_result: Callable[[DeliveryResult], None] = lambda _result: None,
        span_of: Callable[[Message], AbstractContextManager[object]] = lambda _message: nullcontext(),
        alerts: AlertsInProgress | None = None,
        notice_interval: float = NOTICE_INTERVAL,
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._concurrency = _concurrency(settings.relay_concurrency)
        self._leases = Leases(database, clock, _holder_name(), settings.relay_lease)
        self._dispatch = MessageDispatch(database, settings)
        self._on_result = on_result
        self._span_of = span_of
        self._alerts = alerts or AlertsInProgress()
        self._notice_interval = notice_interval / settings.relay_concurrency
        self._next_notice = 0.0  # by the loop's clock
        self._notified = asyncio.Event()
        self._semaphores = {priority: asyncio.Semaphore(limit) for priority, limit in self._concurrency.items()}
        self._deliveries: dict[asyncio.Task[None], Priority] = {}
        # A thread for each concurrent delivery and one for leases: asyncio's default pool is small and shared.
        self._threads = ThreadPoolExecutor(sum(self._concurrency.values()) + 1, thread_name_prefix="octy-relay")
        self._results: list[DeliveryResult] = []  # not recorded yet
        self._leasing: asyncio.Task[list[Message]] | None = None
        self._outage: Exception | None = None
        self._delivered = 0

    async def run(self) -> None:
        """Deliver until cancelled. Errors that concern all messages are logged and retried with backoff."""
        delay = 0.0
        listener = OutboxListener(
            self._database.listen(), self._notified, poll_interval=self._settings.relay_poll_interval
        )
        try:
            while True:
                before = self._delivered
                try:
                    await self.deliver_pending()
                except Exception as error:  # noqa: BLE001  # an outage or a bug of ours: messages wait, none is lost
                    delay = _next_delay(0.0 if self._delivered > before else delay)
                    _logger.warning("relay: %s; next try in %.1f s", _describe(error), delay)
                    await asyncio.sleep(delay)
                else:
                    delay = 0.0
                    await self._wait_for_work()
        finally:
            try:
                await self._stop()
            finally:
                await listener.stop()

    async def deliver_pending(self) -> DeliveryCounts:
        """Deliver every message that this relay may lease, until none is left. Raises the error of an outage."""
        self._outage = None
        delivered = failed = 0
        while True:
            self._notified.clear()
            results = await self._lease_and_deliver()
            delivered += sum(result.status is DeliveryStatus.DELIVERED for result in results)
            failed += sum(result.status is DeliveryStatus.FAILED for result in results)
            if self._deliveries:
                await self._wait_for_work()
            elif not self._results:
                break
        if self._outage is not None:
            raise self._outage
        return DeliveryCounts(delivered, failed)

    async def _lease_and_deliver(self) -> Sequence[DeliveryResult]:
        """Record results, lease messages, start delivering them. Return the results that were recorded."""
        free = [] if self._outage else [priority for priority in Priority if self._has_room(priority)]
        results = self._results
        if not free and not results:
            return results  # pragma: no cover - all places are taken, and no delivery has ended yet
        deadline = asyncio.get_running_loop().time() + self._settings.relay_lease * DELIVERY_SHARE
        self._results = []
        limits = {priority: self._concurrency[priority] * _PREFETCH for priority in free}
        self._leasing = asyncio.create_task(self._record_and_lease(results, limits))
        for message in await asyncio.shield(self._leasing):
            if message.priority is Priority.ALERT:
                self._alerts.begin(message.subject_id)
            task = asyncio.create_task(self._deliver(message, deadline))
            self._deliveries[task] = message.priority
            task.add_done_callback(self._deliveries.pop)
        return results

    def _has_room(self, priority: Priority) -> bool:
        return sum(each is priority for each in self._deliveries.values()) < self._concurrency[priority]

    async def _record_and_lease(self, results: list[DeliveryResult], limits: Mapping[Priority, int]) -> list[Message]:
        try:
            messages = await self._in_thread(self._leases.take, results, limits)
        except BaseException:
            self._results = results + self._results  # to be recorded the next time
            raise
        for result in results:
            _log_failure(result)
            self._on_result(result)
        return messages

    async def _wait_for_work(self) -> None:
        """Wait until a priority has room, a delivery ends, a notification arrives, or the poll interval is over.

        Results of a priority that is full are not recorded before it has room, or before there is something to do for
        another priority: fewer transactions.
        """
        full = {priority for priority in Priority if not self._has_room(priority)}
        if any(result.message.priority not in full for result in self._results):  # came while messages were leased
            return
        notified = asyncio.create_task(self._notified.wait())
        until = asyncio.get_running_loop().time() + self._settings.relay_poll_interval
        try:
            while not notified.done() and (left := until - asyncio.get_running_loop().time()) > 0:
                of_full: set[asyncio.Task[Any]] = {task for task, each in self._deliveries.items() if each in full}
                running: set[asyncio.Task[Any]] = {notified, *self._deliveries}
                ended, _ = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if ended - of_full or any(map(self._has_room, full)):
                    return
        finally:
            notified.cancel()

    async def _deliver(self, message: Message, deadline: float) -> None:
        """Deliver one message well before its lease expires, and keep the result."""
        async with self._semaphores[message.priority]:
            if self._outage is not None:
                self._results.append(DeliveryResult(message, DeliveryStatus.DEFERRED))
                return
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wait_for_priority(message.priority)
                    with self._span_of(message):
                        await self._send(await self._in_thread(self._dispatch.call_for, message))
            except Exception as error:  # noqa: BLE001  # whatever its type, it is recorded in the message's row
                if _is_outage(error):
                    self._outage = self._outage or error
                    self._results.append(DeliveryResult(message, DeliveryStatus.DEFERRED, _error_code(error)))
                else:
                    self._results.append(DeliveryResult(message, DeliveryStatus.FAILED, _error_code(error)))
            else:
                self._delivered += 1
                self._results.append(DeliveryResult(message, DeliveryStatus.DELIVERED))

    async def _wait_for_priority(self, priority: Priority) -> None:
        """Limit the rate of notices, and let alerts go first: notices that wait here are merged, and use no CPU."""
        if priority is Priority.NOTICE:
            now = asyncio.get_running_loop().time()
            at = max(now, self._next_notice)
            self._next_notice = at + self._notice_interval
            await asyncio.sleep(at - now)
        if priority in _LOW_PRIORITY:
            await self._alerts.wait()

    async def _send(self, call: WorkflowCall) -> None:
        try:
            await self._client.start_workflow(
                call.run,
                call.argument,
                id=call.workflow_id,
                task_queue=call.task_queue,
                id_reuse_policy=_RESTART if call.restart else WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=call.summary,
                static_details=call.details,
                start_signal=None if call.signal is None else str(call.signal),
                request_eager_start=call.signal is None,  # this process may get the first task without polling for it
            )
        except WorkflowAlreadyStartedError:
            _logger.info("relay: workflow %s is closed; %s ignored", call.workflow_id, call.signal or "start")

    async def _stop(self) -> None:
        """Cancel deliveries, and release the leases, so that other relays deliver the rest at once."""
        for task in self._deliveries:
            task.cancel()
        assert self._leasing is not None  # the first step of `run`
        await asyncio.wait({*self._deliveries, self._leasing})
        try:
            await self._in_thread(self._leases.release, self._results)
        except Exception as error:  # noqa: BLE001  # the database is unavailable: leases expire, and the stop goes on
            _logger.warning("relay: leases not released, they expire by themselves: %s", _describe(error))
        # The thread of a cancelled task goes on: it returns its connection before the database is closed.
        await asyncio.to_thread(self._threads.shutdown)

    async def _in_thread(self, call: Callable[[*_Arguments], _Result], *args: *_Arguments) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


def _concurrency(limit: int) -> dict[Priority, int]:
    """Return how many messages of each priority are delivered concurrently.

    Temporal's server processes starts one after the other, so low priorities must not queue before an alert there.
    """
    return {
        Priority.ALERT: limit,
        Priority.ANSWER: max(1, limit // 2),
        Priority.NOTICE: max(1, limit // 8),
        Priority.WEBHOOK: max(1, limit // 8),
    }


def _holder_name() -> str:
    """Return a unique name of this relay, which shows support staff where it runs."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"


def _log_failure(result: DeliveryResult) -> None:
    if result.status is not DeliveryStatus.FAILED:
        return
    message_id, attempts = result.message.id, result.message.delivery_attempts + 1
    if attempts >= MAX_DELIVERY_ATTEMPTS:
        _logger.error(
            "relay: outbox message %d failed %d times and is a dead letter: %s; retry it with `octy outbox retry %d`",
            message_id,
            attempts,
            result.error,
            message_id,
        )
    else:
        _logger.warning(
            "relay: outbox message %d failed (attempt %d of %d): %s",
            message_id,
            attempts,
            MAX_DELIVERY_ATTEMPTS,
            result.error,
        )


def _next_delay(delay: float) -> float:
    return min(max(delay, 0.25) * 2, _BACKOFF_LIMIT)


def _is_outage(error: Exception) -> bool:
    if isinstance(error, RPCError):
        return error.status not in _MESSAGE_ERRORS
    return isinstance(error, OctyError | TimeoutError)


def _error_code(error: Exception) -> str:
    """Return type and status: the text of an error may repeat personal data from the message."""
    name = type(error).__name__
    return f"{name} {error.status.name}" if isinstance(error, RPCError) else name


def _describe(error: Exception) -> str:
    """Return the text for the log: that of an outage is about servers, not about customers."""
    advice = isinstance(error, RPCError) and permission_advice(error)
    text = f": {advice or error}" if isinstance(error, RPCError | OctyError) and _is_outage(error) else ""
    return f"{_error_code(error)}{text}"[:300]
