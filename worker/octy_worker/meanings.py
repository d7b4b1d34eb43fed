"""What each message of the outbox is to a workflow: which one runs, with what, and the signal that it hears.

Here: the table of events, and what it takes from the database. Not here: calling Temporal (`relay`), claiming messages
(`claims`).
"""

import json
from dataclasses import dataclass
from typing import Any, assert_never

from octy_middleware.database import Database
from octy_middleware.models import Notice, Regeneration, Webhook
from octy_middleware.outbox import Event
from octy_middleware.states import Answer
from octy_worker import earlier_orders
from octy_worker.activities.incidents import choice_of
from octy_worker.claims import Message
from octy_worker.settings import WorkerSettings
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    ChangedAnswer,
    CustomerAnswer,
    Growth,
    IncidentCase,
    NoticeCase,
    NoticeKind,
    RegenerationCase,
    RegenerationEnd,
    WebhookCase,
    incident_workflow_id,
    notice_workflow_id,
    regeneration_workflow_id,
    webhook_workflow_id,
)
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.webhook import KeyWebhookWorkflow


@dataclass(frozen=True, slots=True)
class Call:
    """One message in Temporal's terms: the workflow that is to run, and the signal that it is to hear, if any."""

    run: Any
    argument: IncidentCase | RegenerationCase | NoticeCase | WebhookCase
    workflow_id: str
    signal: str | None = None
    content: object = None
    summary: str = ""  # as the Web UI shows it in lists and heads; ids only
    details: str = ""

    @property
    def start_signal(self) -> dict[str, Any]:
        """The signal as the client takes it beside a start."""
        if self.signal is None:
            return {}
        return {"start_signal": self.signal, "start_signal_args": [] if self.content is None else [self.content]}


class Meanings:
    """Turns messages into calls. Raises whatever a message at fault runs into."""

    def __init__(self, database: Database, settings: WorkerSettings) -> None:
        self._database = database
        self._settings = settings
        self._searchable = settings.temporal_search_attributes == "auto"

    def call_for(self, message: Message) -> Call:  # noqa: C901, PLR0911  # a row for each event
        """Return what the message asks of Temporal."""
        event, subject, detail = Event(message.kind), message.subject_id, json.loads(message.detail)
        match event:
            case Event.INCIDENT_OPENED:
                return self._incident(subject)
            case Event.INCIDENT_GREW:
                return self._incident(subject, "attempts_grew", Growth(int(detail["failures"])))
            case Event.INCIDENT_ANSWERED:
                answer = CustomerAnswer(choice_of(Answer(detail["answer"])), bool(detail["leaked"]))
                return self._incident(subject, "customer_answered", answer)
            case Event.INCIDENT_CHANGED:
                change = ChangedAnswer(
                    choice_of(Answer(detail["answer"])), bool(detail["leaked"]), str(detail["by"]), detail["change_id"]
                )
                return self._incident(subject, "answer_changed", change)
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
            case Event.WEBHOOK_DUE:
                return self._webhook(subject, int(detail["order"]))
            case unknown:
                assert_never(unknown)

    def _incident(self, incident_id: str, signal: str | None = None, content: object = None) -> Call:
        settings = self._settings
        with self._database.read_session() as session:
            case = IncidentCase(
                incident_id,
                settings.incident_times,
                searchable=self._searchable,
                failures=settings.threshold,
                extended=earlier_orders.extended_last(session, incident_id),
                numbers=earlier_orders.numbers_given(session, incident_id),
            )
        return Call(
            KeyIncidentWorkflow.run,
            case,
            incident_workflow_id(incident_id),
            signal,
            content,
            summary=f"Case {incident_id}",
            details=f"Wrong secrets for one key pair. `octy incidents show {incident_id}` tells the whole case.",
        )

    def _regeneration(self, regeneration_id: str, signal: str | None = None) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Regeneration, regeneration_id)
        case = RegenerationCase(
            regeneration_id,
            leaked=row.leaked,
            replaces=row.old_pair_id is not None,
            times=self._settings.regeneration_times,
            deliver=self._settings.deliver,
            searchable=self._searchable,
        )
        return Call(
            KeyRegenerationWorkflow.run,
            case,
            regeneration_workflow_id(regeneration_id),
            signal,
            summary=f"New keys {regeneration_id}",
            details=f"For account {row.account_id}. `octy accounts show {row.account_id}` tells of all its keys.",
        )

    def _notice(self, notice_id: str) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Notice, notice_id)
        case = NoticeCase(notice_id, NoticeKind(row.kind), self._settings.incident_close_after)
        return Call(
            KeyNoticeWorkflow.run,
            case,
            notice_workflow_id(notice_id),
            summary=f"Notice {notice_id}: {row.kind}",
            details=f"For account {row.account_id}. `octy accounts show {row.account_id}` tells of its mails.",
        )

    def _webhook(self, webhook_id: str, order: int) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Webhook, webhook_id)
        return Call(
            KeyWebhookWorkflow.run,
            WebhookCase(webhook_id, row.event, self._settings.webhook_life),
            webhook_workflow_id(webhook_id, order),
            summary=f"Webhook {webhook_id}: {row.event}",
            details=f"For account {row.account_id}. `octy webhooks list` tells of its deliveries.",
        )
