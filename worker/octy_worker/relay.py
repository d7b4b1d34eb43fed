"""Outbox → Temporal: every message is delivered at least once, in order, and "already there" means delivered.

Here: reading the outbox, and what each event is to a workflow. Not here: putting messages down
(`octy_middleware.outbox`), connecting (`temporal`).

Everything is a signal-with-start or a start: should a message about a case come before its workflow runs, the
workflow starts with it. A closed workflow is not started again; its message is delivered, for there is nobody to
hear it.
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
from temporalio.service import RPCError

from octy_middleware.clock import Clock, utc
from octy_middleware.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.models import Outbox, Regeneration
from octy_middleware.outbox import Event
from octy_middleware.states import Answer
from octy_worker.activities.incidents import choice_of
from octy_worker.settings import WorkerSettings
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    CustomerAnswer,
    Growth,
    IncidentCase,
    RegenerationCase,
    RegenerationEnd,
    incident_workflow_id,
    regeneration_workflow_id,
)
from octy_workflows.regeneration import KeyRegenerationWorkflow

_logger = logging.getLogger(__name__)

_BATCH = 100
_BACKOFF_LIMIT = 10.0  # seconds at most between two tries while Temporal is away


@dataclass(frozen=True, slots=True)
class Call:
    """One message in Temporal's terms: the workflow that is to run, and the signal that it is to hear, if any."""

    run: Any
    argument: IncidentCase | RegenerationCase
    workflow_id: str
    signal: str | None = None
    content: object = None


class Relay:
    """Delivers the outbox of one database. One relay a database is enough; two do no harm."""

    def __init__(self, database: Database, client: Client, settings: WorkerSettings, clock: Clock) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Deliver until cancelled. Faults of the store or of Temporal are waited out."""
        wait = interval = self._settings.relay_interval
        while True:
            try:
                delivered = await self.deliver_some()
                wait = interval
            except (RPCError, OctyError) as error:
                wait = min(max(wait, 0.25) * 2, _BACKOFF_LIMIT)
                _logger.warning("relay: %s; next try in %.1f s", _reason(error), wait)
                delivered = 0
            if delivered < _BATCH:
                await asyncio.sleep(wait)

    async def deliver_some(self) -> int:
        """Deliver what waits, oldest first, at most a hundred messages; return how many."""
        messages = await asyncio.to_thread(self._undelivered)
        for message in messages:
            try:
                await self._send(await asyncio.to_thread(self._call, message))
            except (RPCError, OctyError) as error:
                await asyncio.to_thread(self._mark, message, _reason(error))
                raise
            await asyncio.to_thread(self._mark, message, None)
        return len(messages)

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

    def _call(self, message: Outbox) -> Call:  # noqa: PLR0911  # a row for each event
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

    def _undelivered(self) -> Sequence[Outbox]:
        with self._database.read_session() as session:
            return session.exec(
                select(Outbox).where(col(Outbox.delivered_at).is_(None)).order_by(col(Outbox.id)).limit(_BATCH)
            ).all()

    def _mark(self, message: Outbox, fault: str | None) -> None:
        values = {"delivered_at": utc(self._clock())} if fault is None else {"last_error": fault}
        with self._database.write() as connection:
            connection.execute(
                update(Outbox).where(col(Outbox.id) == message.id).values(tries=Outbox.tries + 1, **values)
            )


def _arguments(call: Call) -> list[object]:
    return [] if call.content is None else [call.content]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
