"""Translation of outbox messages into workflow calls: which workflow to start, with which input and which signal."""

import json
import time
from dataclasses import dataclass
from typing import Any, assert_never

from octy_middleware.db.database import Database
from octy_middleware.db.models import Notice, Regeneration, Webhook
from octy_middleware.domain.installation import installation_id
from octy_middleware.domain.outbox import MessageKind
from octy_worker.domain import restart_state
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


@dataclass(frozen=True, slots=True)
class WorkflowCall:
    """One message in Temporal's terms: the workflow to start, and the signal to send it, if any.

    `restart`: start it even if a workflow of this id is closed; SQL says that its work is not done (`reconciliation`).
    """

    run: Any
    argument: IncidentInput | RegenerationInput | NoticeInput | WebhookInput
    workflow_id: str
    task_queue: str
    signal: Signal | None = None  # without arguments: the workflow reads the news from SQL
    summary: str = ""  # shown in the Web UI's list and title; ids only
    details: str = ""
    restart: bool = False


class MessageDispatch:
    """Turns messages into workflow calls. Raises any exception for a message that can't be translated."""

    def __init__(self, database: Database, settings: WorkerSettings) -> None:
        self._database = database
        self._installation = installation_id(database)
        self._task_queue = main_queue(settings, self._installation)
        self._settings = settings
        self._searchable = settings.temporal_search_attributes == "auto"

    def call_for(self, message: Message) -> WorkflowCall:  # noqa: C901, PLR0911  # a row for each event
        """Return the call for a message."""
        event, subject, detail = MessageKind(message.kind), message.subject_id, json.loads(message.detail)
        restart = "again" in detail  # put by a reconciliation
        match event:
            case MessageKind.INCIDENT_OPENED:
                return self._incident(subject, restart=restart)
            case MessageKind.INCIDENT_GREW:
                return self._incident(subject, Signal.FAILURES_INCREASED)
            case MessageKind.INCIDENT_ANSWERED:
                return self._incident(subject, Signal.CUSTOMER_ANSWERED, restart=restart)
            case MessageKind.INCIDENT_CHANGED:
                return self._incident(subject, Signal.ANSWER_AMENDED)
            case MessageKind.REGENERATION_FINISHED:
                return self._incident(subject, Signal.REGENERATION_FINISHED)
            case MessageKind.REGENERATION_OPENED:
                return self._regeneration(subject, restart=restart)
            case MessageKind.REGENERATION_COLLECTED:
                return self._regeneration(subject, Signal.KEYS_COLLECTED, restart=restart)
            case MessageKind.REGENERATION_SUPERSEDED:
                return self._regeneration(subject, Signal.SUPERSEDED)
            case MessageKind.NOTICE_CREATED:
                return self._notice(subject, restart=restart)
            case MessageKind.WEBHOOK_DUE:
                return self._webhook(subject, int(detail["order"]), restart=restart)
            case unknown:  # pragma: no cover - there is no other kind
                assert_never(unknown)

    def _incident(self, incident_id: str, signal: Signal | None = None, *, restart: bool = False) -> WorkflowCall:
        settings = self._settings
        with self._database.read_session() as session:
            past = restart_state.incident_restart(session, incident_id) if restart else None
            argument = IncidentInput(
                incident_id,
                settings.incident_times,
                searchable=self._searchable,
                failures=settings.threshold,
                deadlines=restart_state.last_extension(session, incident_id),
                mail_numbers=restart_state.last_mail_numbers(session, incident_id),
                restart=past or IncidentRestart(),
            )
        return WorkflowCall(
            KeyIncidentWorkflow.run,
            argument,
            incident_workflow_id(self._installation, incident_id),
            incident_task_queue(self._task_queue),
            signal,
            summary=f"Incident {incident_id}",
            details=f"Repeated failed attempts against one key pair. Details: `octy incidents show {incident_id}`.",
            restart=past is not None,
        )

    def _regeneration(
        self, regeneration_id: str, signal: Signal | None = None, *, restart: bool = False
    ) -> WorkflowCall:
        with self._database.read_session() as session:
            row = session.get_one(Regeneration, regeneration_id)
            past = restart_state.regeneration_restart(session, regeneration_id, time.time()) if restart else None
        argument = RegenerationInput(
            regeneration_id,
            leaked=row.leaked,
            replaces=row.old_pair_id is not None,
            times=self._settings.regeneration_times,
            delivery_method=self._settings.deliver,
            searchable=self._searchable,
            restart=past or RegenerationRestart(),
            account_id=row.account_id,
            old_pair_id=row.old_pair_id or "",
        )
        return WorkflowCall(
            KeyRegenerationWorkflow.run,
            argument,
            regeneration_workflow_id(self._installation, regeneration_id),
            self._task_queue,
            signal,
            summary=f"Regeneration {regeneration_id}",
            details=f"For account {row.account_id}. All its keys: `octy accounts show {row.account_id}`.",
            restart=past is not None,
        )

    def _notice(self, notice_id: str, *, restart: bool = False) -> WorkflowCall:
        with self._database.read_session() as session:
            row = session.get_one(Notice, notice_id)
        began = row.at.timestamp() if restart else 0.0
        argument = NoticeInput(notice_id, NoticeKind(row.kind), self._settings.incident_close_after, began)
        return WorkflowCall(
            KeyNoticeWorkflow.run,
            argument,
            notice_workflow_id(self._installation, notice_id),
            background_task_queue(self._task_queue),
            summary=f"Notice {notice_id}: {row.kind}",
            details=f"For account {row.account_id}. Its mails: `octy accounts show {row.account_id}`.",
            restart=restart,
        )

    def _webhook(self, webhook_id: str, order: int, *, restart: bool = False) -> WorkflowCall:
        with self._database.read_session() as session:
            row = session.get_one(Webhook, webhook_id)
        return WorkflowCall(
            KeyWebhookWorkflow.run,
            WebhookInput(webhook_id, row.event, self._settings.webhook_retry_period),
            webhook_workflow_id(self._installation, webhook_id, order),
            background_task_queue(self._task_queue),
            summary=f"Webhook {webhook_id}: {row.event}",
            details=f"For account {row.account_id}. Its deliveries: `octy webhooks list`.",
            restart=restart,
        )
