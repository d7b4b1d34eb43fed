"""What each message of the outbox is to a workflow: which one runs, with what, and the signal that it hears.

Here: the table of events, and what it takes from the database. Not here: calling Temporal (`relay`), claiming messages
(`claims`).
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, assert_never

from sqlmodel import Session

from octy_middleware.db.database import Database
from octy_middleware.db.models import Notice, Regeneration, Webhook
from octy_middleware.domain.installation import installation_id
from octy_middleware.domain.outbox import Event
from octy_worker.domain import earlier_orders
from octy_worker.maintenance.reconciliation.past import past_of_incident, past_of_regeneration
from octy_worker.outbox.leases import Message
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import main_queue
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    IncidentInput,
    IncidentRestart,
    NoticeInput,
    NoticeKind,
    RegenerationInput,
    RegenerationRestart,
    Signal,
    WebhookInput,
    incident_workflow_id,
    notice_workflow_id,
    regeneration_workflow_id,
    webhook_workflow_id,
)
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.task_queues import background_task_queue, incident_task_queue
from octy_workflows.webhook import KeyWebhookWorkflow

_Past = TypeVar("_Past", IncidentRestart, RegenerationRestart)


@dataclass(frozen=True, slots=True)
class Call:
    """One message in Temporal's terms: the workflow that is to run, and the signal that it is to hear, if any.

    `again`: it is to run although one of its id has ended; SQL says that its work is not done (`reconciliation`).
    """

    run: Any
    argument: IncidentInput | RegenerationInput | NoticeInput | WebhookInput
    workflow_id: str
    task_queue: str
    signal: Signal | None = None  # without content: it says that there is something to be read in SQL
    summary: str = ""  # as the Web UI shows it in lists and heads; ids only
    details: str = ""
    again: bool = False

    @property
    def start_signal(self) -> dict[str, Any]:
        """The signal as the client takes it beside a start."""
        if self.signal is None:
            return {}
        return {"start_signal": str(self.signal), "start_signal_args": []}


class MessageDispatch:
    """Turns messages into calls. Raises whatever a message at fault runs into."""

    def __init__(self, database: Database, settings: WorkerSettings, installation: str | None = None) -> None:
        self._database = database
        self._installation = installation or installation_id(database)
        self._task_queue = main_queue(settings, self._installation)
        self._settings = settings
        self._searchable = settings.temporal_search_attributes == "auto"

    def call_for(self, message: Message) -> Call:  # noqa: C901, PLR0911  # a row for each event
        """Return what the message asks of Temporal."""
        event, subject, detail = Event(message.kind), message.subject_id, json.loads(message.detail)
        again = "again" in detail  # put by a reconciliation
        match event:
            case Event.INCIDENT_OPENED:
                return self._incident(subject, again=again)
            case Event.INCIDENT_GREW:
                return self._incident(subject, Signal.ATTEMPTS_GREW)
            case Event.INCIDENT_ANSWERED:
                return self._incident(subject, Signal.CUSTOMER_ANSWERED, again=again)
            case Event.INCIDENT_CHANGED:
                return self._incident(subject, Signal.ANSWER_CHANGED)
            case Event.REGENERATION_FINISHED:
                return self._incident(subject, Signal.REGENERATION_FINISHED)
            case Event.REGENERATION_OPENED:
                return self._regeneration(subject, again=again)
            case Event.REGENERATION_COLLECTED:
                return self._regeneration(subject, Signal.KEYS_COLLECTED, again=again)
            case Event.REGENERATION_SUPERSEDED:
                return self._regeneration(subject, Signal.SUPERSEDED)
            case Event.NOTICE_GIVEN:
                return self._notice(subject, again=again)
            case Event.WEBHOOK_DUE:
                return self._webhook(subject, int(detail["order"]), again=again)
            case unknown:
                assert_never(unknown)

    def _incident(self, incident_id: str, signal: Signal | None = None, *, again: bool = False) -> Call:
        settings = self._settings
        past = self._read(past_of_incident, incident_id) if again else None
        with self._database.read_session() as session:
            case = IncidentInput(
                incident_id,
                settings.incident_times,
                searchable=self._searchable,
                failures=settings.threshold,
                extended=earlier_orders.extended_last(session, incident_id),
                numbers=earlier_orders.numbers_given(session, incident_id),
                past=past or IncidentRestart(),
            )
        return Call(
            KeyIncidentWorkflow.run,
            case,
            incident_workflow_id(self._installation, incident_id),
            incident_task_queue(self._task_queue),
            signal,
            summary=f"Case {incident_id}",
            details=f"Wrong secrets for one key pair. `octy incidents show {incident_id}` tells the whole case.",
            again=past is not None,
        )

    def _regeneration(self, regeneration_id: str, signal: Signal | None = None, *, again: bool = False) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Regeneration, regeneration_id)
        past = self._read(past_of_regeneration, regeneration_id) if again else None
        case = RegenerationInput(
            regeneration_id,
            leaked=row.leaked,
            replaces=row.old_pair_id is not None,
            times=self._settings.regeneration_times,
            deliver=self._settings.deliver,
            searchable=self._searchable,
            past=past or RegenerationRestart(),
            account_id=row.account_id,
            old_pair_id=row.old_pair_id or "",
        )
        return Call(
            KeyRegenerationWorkflow.run,
            case,
            regeneration_workflow_id(self._installation, regeneration_id),
            self._task_queue,
            signal,
            summary=f"New keys {regeneration_id}",
            details=f"For account {row.account_id}. `octy accounts show {row.account_id}` tells of all its keys.",
            again=past is not None,
        )

    def _notice(self, notice_id: str, *, again: bool = False) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Notice, notice_id)
        began = row.at.timestamp() if again else 0.0
        case = NoticeInput(notice_id, NoticeKind(row.kind), self._settings.incident_close_after, began)
        return Call(
            KeyNoticeWorkflow.run,
            case,
            notice_workflow_id(self._installation, notice_id),
            background_task_queue(self._task_queue),
            summary=f"Notice {notice_id}: {row.kind}",
            details=f"For account {row.account_id}. `octy accounts show {row.account_id}` tells of its mails.",
            again=again,
        )

    def _webhook(self, webhook_id: str, order: int, *, again: bool = False) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Webhook, webhook_id)
        return Call(
            KeyWebhookWorkflow.run,
            WebhookInput(webhook_id, row.event, self._settings.webhook_life),
            webhook_workflow_id(self._installation, webhook_id, order),
            background_task_queue(self._task_queue),
            summary=f"Webhook {webhook_id}: {row.event}",
            details=f"For account {row.account_id}. `octy webhooks list` tells of its deliveries.",
            again=again,
        )

    def _read(self, past_of: Callable[[Session, str, float], _Past | None], subject_id: str) -> _Past | None:
        with self._database.read_session() as session:
            return past_of(session, subject_id, time.time())
