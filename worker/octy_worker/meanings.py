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
from octy_worker.activities.incidents import choice_of
from octy_worker.claims import Message
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

    def call_for(self, message: Message) -> Call:  # noqa: PLR0911  # a row for each event
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
            deliver=self._settings.deliver,
        )
        return Call(KeyRegenerationWorkflow.run, case, regeneration_workflow_id(regeneration_id), signal)

    def _notice(self, notice_id: str) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Notice, notice_id)
        case = NoticeCase(notice_id, NoticeKind(row.kind), self._settings.incident_close_after)
        return Call(KeyNoticeWorkflow.run, case, notice_workflow_id(notice_id))

    def _webhook(self, webhook_id: str, order: int) -> Call:
        with self._database.read_session() as session:
            row = session.get_one(Webhook, webhook_id)
        case = WebhookCase(webhook_id, row.event, self._settings.webhook_life)
        return Call(KeyWebhookWorkflow.run, case, webhook_workflow_id(webhook_id, order))
