"""The workflow call of each outbox message."""

import asyncio

from support.cli_rig import open_incident
from support.relay_rig import RecordingClient, deliver, put, relay, row
from support.world import INSTALLATION, Keys, World
from temporalio import workflow
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from octy_middleware.clock import utc
from octy_middleware.db.models import Mail
from octy_middleware.domain import webhook_events
from octy_middleware.domain.accounts import Accounts
from octy_middleware.domain.notices import create_notice
from octy_middleware.domain.outbox import MessageKind
from octy_middleware.domain.webhook_events import WebhookEvent
from octy_middleware.states import KeyPairCause, NoticeKind
from octy_worker.domain import incidents, regenerations
from octy_worker.outbox.relay import DeliveryCounts
from octy_workflows import messages
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import (
    ExtendedDeadlines,
    IncidentInput,
    NoticeInput,
    RegenerationInput,
    WebhookInput,
)
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.webhook import KeyWebhookWorkflow

NOW = 1_770_000_000.0  # 2026-02-02 02:40:00 UTC

TASK_QUEUES = {
    KeyIncidentWorkflow: f"octy-{INSTALLATION}-incidents",
    KeyRegenerationWorkflow: f"octy-{INSTALLATION}",
    KeyNoticeWorkflow: f"octy-{INSTALLATION}-background",
    KeyWebhookWorkflow: f"octy-{INSTALLATION}-background",
}

MEANINGS = [  # signals have no content: what a message says beside its kind is not read from its row
    (MessageKind.INCIDENT_OPENED, {}, None, []),
    (MessageKind.INCIDENT_GREW, {"failures": 40}, "failures_increased", []),
    (MessageKind.INCIDENT_ANSWERED, {"answer": "not_us", "leaked": True}, "customer_answered", []),
    (MessageKind.INCIDENT_ANSWERED, {"answer": "it_was_us", "leaked": False}, "customer_answered", []),
    (MessageKind.INCIDENT_CHANGED, {"answer": "it_was_us", "order_id": "c1"}, "answer_amended", []),
    (MessageKind.REGENERATION_FINISHED, {"regeneration_id": "r1", "state": "done"}, "regeneration_finished", []),
    (MessageKind.REGENERATION_OPENED, {}, None, []),
    (MessageKind.REGENERATION_COLLECTED, {}, "keys_collected", []),
    (MessageKind.REGENERATION_SUPERSEDED, {}, "superseded", []),
    (MessageKind.NOTICE_CREATED, {}, None, []),
    (MessageKind.WEBHOOK_DUE, {"order": 2}, None, []),
]


def test_every_message_kind_has_a_dispatch() -> None:
    assert {event for event, *_ in MEANINGS} == set(MessageKind)


def addressed(world: World, keys: Keys, event: MessageKind) -> tuple:
    """Return the workflow that an event is for: its class, its id, its subject and its input."""
    known = world.worker_settings()
    if event is MessageKind.NOTICE_CREATED:
        with world.database.write() as connection:
            notice = create_notice(connection, NoticeKind.EXPOSED, keys.account_id, NOW, {})
        case = NoticeInput(notice, messages.NoticeKind.EXPOSED, known.incident_close_after)
        return KeyNoticeWorkflow, f"octy-{INSTALLATION}-notice-{notice}", notice, case
    if event is MessageKind.WEBHOOK_DUE:
        Accounts(world.database).change_contact("acme", {"webhook_url": "https://hooks.acme.example"})
        with world.database.write() as connection:
            webhook_events.enqueue_webhook(
                connection, WebhookEvent.CONTACT_CHANGED, keys.account_id, "n1", NOW, data={}
            )
        [(webhook,)] = world.rows("SELECT id FROM webhook")
        due = WebhookInput(webhook, "contact.changed", known.webhook_retry_period)
        return KeyWebhookWorkflow, f"octy-{INSTALLATION}-webhook-{webhook}-2", webhook, due
    if event.startswith("regeneration_") and event is not MessageKind.REGENERATION_FINISHED:
        subject = keys.regeneration_id
        times = known.regeneration_times
        new = RegenerationInput(subject, times=times, searchable=True, account_id=keys.account_id)
        return KeyRegenerationWorkflow, f"octy-{INSTALLATION}-regeneration-{subject}", subject, new
    case = IncidentInput("i1", known.incident_times, searchable=True, failures=20)
    return KeyIncidentWorkflow, f"octy-{INSTALLATION}-incident-i1", "i1", case


def test_each_message_starts_its_workflow_with_its_signal(world: World) -> None:
    keys = world.register()
    for event, detail, signal, content in MEANINGS:
        check_dispatch(world, keys, event, detail, signal, content)


def check_dispatch(world: World, keys: Keys, event: MessageKind, detail: dict, signal, content) -> None:  # noqa: PLR0917  # a row
    room, name, subject, case = addressed(world, keys, event)
    with world.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM outbox")
    number = put(world, event, subject, **detail)
    temporal_client = RecordingClient()
    assert deliver(world, temporal_client) == DeliveryCounts(1, 0)
    assert temporal_client.started == [(room.run, case, name, signal, content)]
    assert signal is None or workflow._Definition.must_from_class(room).signals[None].dynamic_vararg is False
    assert subject in temporal_client.options.pop("static_summary")
    assert temporal_client.options.pop("static_details").count("octy ") == 1  # the command that shows more
    assert temporal_client.options == {
        "task_queue": TASK_QUEUES[room],
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "request_eager_start": signal is None,
    }
    assert row(world, number) == (True, 1, "")


def test_regeneration_workflow_starts_with_the_values_of_its_row(world: World) -> None:
    keys = world.register()
    with world.database.write_session() as session:
        old = regenerations.current_pair(session, keys.account_id)
        opened = regenerations.open_regeneration(
            session, keys.account_id, KeyPairCause.STAFF, old_pair_id=old.id, leaked=True, actor="ann", now=NOW
        )
    temporal_client = RecordingClient()
    deliver(world, temporal_client)
    [case] = {
        argument for _, argument, *_ in temporal_client.started if argument.regeneration_id == opened.regeneration_id
    }
    assert (case.leaked, case.replaces) == (True, True)


def test_workflows_set_no_search_attributes_where_they_are_off(world: World) -> None:
    keys = world.register()
    put(world, MessageKind.INCIDENT_OPENED, "i1")
    temporal_client = RecordingClient()
    asyncio.run(relay(world, temporal_client, temporal_search_attributes="off").deliver_pending())
    assert {argument.searchable for _, argument, *_ in temporal_client.started} == {False}
    assert {started[2] for started in temporal_client.started} == {
        f"octy-{INSTALLATION}-incident-i1",
        f"octy-{INSTALLATION}-regeneration-{keys.regeneration_id}",
    }


def test_restarted_incident_workflow_gets_earlier_staff_orders(world: World) -> None:
    _, incident_id = open_incident(world)
    for number, days in ((1, 7), (2, 3)):
        detail = {"days": days, "staff_at": 1000 + number, "ends_at": 2000 + number, "reason": "ill"}
        with world.database.write_session() as session:
            incidents.append_event(
                session, incident_id, key=f"e{number}", actor="eve", what="extended", detail=detail, now=NOW
            )
    [(account_id,)] = world.rows("SELECT account_id FROM incident")
    with world.database.write_session() as session:
        for name in ("alert/1", "alert/10", "alert/10/copy-2", "alert/9", "reminder/2"):
            kind, number, key = name.split("/")[0], name, f"{incident_id}/{name}"
            own = {"account_id": account_id, "incident_id": incident_id, "created_at": utc(NOW)}
            session.add(Mail(key=key, kind=kind, message_id=f"<{number}@octy.example>", **own))
    temporal_client = RecordingClient()
    deliver(world, temporal_client)
    [case] = [argument for _, argument, *_ in temporal_client.started if isinstance(argument, IncidentInput)]
    assert case.deadlines == ExtendedDeadlines(1002.0, 2002.0)
    assert case.mail_numbers == {"alert": 10, "reminder": 2}
