"""Outbox → Temporal: every message is delivered at least once, in order, and "already there" means delivered.

Here: reading the outbox, and what each event is to a workflow. Not here: putting messages down
(`octy_middleware.outbox`), connecting (`temporal`).

Everything is a signal-with-start or a start: should a message about a case come before its workflow runs, the
workflow starts with it. A closed workflow is not started again; its message is delivered, for there is nobody to
hear it.

An outage holds everything back until it is over. A message that is itself at fault holds nothing back: it is tried
five times, then set aside, and stays in the outbox as undelivered, with its fault.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from sqlalchemy import update
from sqlmodel import col, select
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.clock import Clock, utc
from octy_middleware.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.models import Notice, Outbox, Regeneration
from octy_middleware.outbox import TRIES, Event
from octy_middleware.states import Answer
from octy_worker.activities.incidents import choice_of
from octy_worker.settings import WorkerSettings
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    CustomerAnswer,
    Growth,
    IncidentCase,
    NoticeCase,
    NoticeKind,
    RegenerationCase,
    RegenerationEnd,
    incident_workflow_id,
    notice_workflow_id,
    regeneration_workflow_id,
)
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow

_logger = logging.getLogger(__name__)

_BATCH = 100
_BACKOFF_LIMIT = 10.0  # seconds at most between two tries while Temporal is away

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
class Call:
    """One message in Temporal's terms: the workflow that is to run, and the signal that it is to hear, if any."""

    run: Any
    argument: IncidentCase | RegenerationCase | NoticeCase
    workflow_id: str
    signal: str | None = None
    content: object = None


@dataclass(frozen=True, slots=True)
class Round:
    """What became of the messages that waited; a failed one has its fault in its row."""

    delivered: int
    failed: int


class Relay:
    """Delivers the outbox of one database. One relay a database is enough; two do no harm."""

    def __init__(self, database: Database, client: Client, settings: WorkerSettings, clock: Clock) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Deliver until cancelled; nothing else ends it. What goes wrong for all messages is waited out."""
        wait = interval = self._settings.relay_interval
        while True:
            try:
                done = await self.deliver_some()
            except Exception as error:  # noqa: BLE001  # an outage, or a fault of ours: messages wait, none is lost
                wait = _longer(wait)
                _logger.warning("relay: %s; next try in %.1f s", _told(error), wait)
            else:
                in_vain = done.failed > 0 and done.delivered == 0
                wait = _longer(wait) if in_vain else interval
                if done.delivered == _BATCH:
                    continue
            await asyncio.sleep(wait)

    async def deliver_some(self) -> Round:
        """Deliver what waits, oldest first, at most a hundred messages. An outage is raised, at the first message."""
        numbers = await asyncio.to_thread(self._undelivered)
        failed = 0
        for number in numbers:
            try:
                await self._send(await asyncio.to_thread(self._call, number))
            except Exception as error:
                if _is_outage(error):
                    await asyncio.to_thread(self._update, number, last_error=_fault(error))
                    raise
                failed += 1
                await asyncio.to_thread(self._note_failure, number, _fault(error))
            else:
                await asyncio.to_thread(self._note_delivery, number)
        return Round(len(numbers) - failed, failed)

    async def _send(self, call: Call) -> None:
        more: dict[str, Any] = (
            {} if call.signal is None else {"start_signal": call.signal, "start_signal_args": _arguments(call)}
        )
        try:
            await self._client.start_workflow(
                call.run,
                call.argument,
                id=call.workflow_id,
                task_queue=self._settings.temporal_task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                **more,
            )
        except WorkflowAlreadyStartedError:
            _logger.info("relay: %s has ended; nobody hears %s", call.workflow_id, call.signal or "its start")

    def _call(self, number: int) -> Call:  # noqa: PLR0911  # a row for each event
        with self._database.read_session() as session:
            message = session.get_one(Outbox, number)
        event, subject, detail = Event(message.kind), message.subject_id, message.detail
        match event:
            case Event.INCIDENT_OPENED:
                return self._incident(subject)
            case Event.INCIDENT_GREW:
                return self._incident(subject, "attempts_grew", Growth(int(detail["failures"])))
            case Event.INCIDENT_ANSWERED:
                answer = CustomerAnswer(choice_of(Answer(detail["answer"])), bool(detail["leaked"]))
                return self._incident(subject, "customer_answered", answer)
            case Event.REGENERATION_FINISHED:
                end = RegenerationEnd(str(detail["regeneration_id"]), str(detail["state"]))
                return self._incident(subject, "regeneration_finished", end)
            case Event.REGENERATION_OPENED:
                return self._regeneration(subject)
            case Event.REGENERATION_COLLECTED:
                return self._regeneration(subject, "keys_collected")
            case Event.REGENERATION_SUPERSEDED:
                return self._regeneration(subject, "superseded")
            case Event.NOTICE_GIVEN:
                return self._notice(subject)
            case unknown:
                assert_never(unknown)

    def _incident(self, incident_id: str, signal: str | None = None, content: object = None) -> Call:
        case = IncidentCase(incident_id, self._settings.incident_times)
        return Call(KeyIncidentWorkflow.run, case, incident_workflow_id(incident_id), signal, content)

    def _regeneration(self, regeneration_id: str, signal: str | None = None) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Regeneration, regeneration_id)
        case = RegenerationCase(
            regeneration_id,
            leaked=row.leaked,
            replaces=row.old_pair_id is not None,
            times=self._settings.regeneration_times,
        )
        return Call(KeyRegenerationWorkflow.run, case, regeneration_workflow_id(regeneration_id), signal)

    def _notice(self, notice_id: str) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Notice, notice_id)
        case = NoticeCase(notice_id, NoticeKind(row.kind), self._settings.incident_close_after)
        return Call(KeyNoticeWorkflow.run, case, notice_workflow_id(notice_id))

    def _undelivered(self) -> Sequence[int]:
        """Return ids alone: a row that can't even be read must not hide the others."""
        waiting = (
            select(col(Outbox.id))
            .where(col(Outbox.delivered_at).is_(None), Outbox.tries < TRIES)
            .order_by(col(Outbox.id))
            .limit(_BATCH)
        )
        with self._database.read() as connection:
            return [row.id for row in connection.execute(waiting)]

    def _note_delivery(self, number: int) -> None:
        self._update(number, tries=Outbox.tries + 1, delivered_at=utc(self._clock()))

    def _note_failure(self, number: int, fault: str) -> None:
        tries = self._update(number, tries=Outbox.tries + 1, last_error=fault)
        if tries == TRIES:
            _logger.error(
                "relay: message %d of the outbox is set aside after %d tries: %s; it is tried again once its row "
                "says tries = 0",
                number,
                tries,
                fault,
            )
        else:
            _logger.warning("relay: message %d of the outbox, try %d of %d: %s", number, tries, TRIES, fault)

    def _update(self, number: int, **values: Any) -> int:
        """Set columns of one row; return how often its message was tried."""
        statement = update(Outbox).where(col(Outbox.id) == number).values(**values).returning(col(Outbox.tries))
        with self._database.write() as connection:
            row = connection.execute(statement).first()
        return 0 if row is None else int(row[0])


def _arguments(call: Call) -> list[object]:
    return [] if call.content is None else [call.content]


def _longer(wait: float) -> float:
    return min(max(wait, 0.25) * 2, _BACKOFF_LIMIT)


def _is_outage(error: Exception) -> bool:
    if isinstance(error, RPCError):
        return error.status not in _OF_THE_MESSAGE
    return isinstance(error, OctyError)


def _fault(error: Exception) -> str:
    """Return type and code: an error's text may repeat what the message holds."""
    name = type(error).__name__
    return f"{name} {error.status.name}" if isinstance(error, RPCError) else name


def _told(error: Exception) -> str:
    """Return what the log says: Temporal's words and ours are about servers, not about customers."""
    text = f": {error}" if isinstance(error, RPCError | OctyError) and _is_outage(error) else ""
    return f"{_fault(error)}{text}"[:300]
