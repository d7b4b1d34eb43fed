"""Webhooks are posted from a task queue of their own, so that slow servers keep nothing else waiting."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.mail_rig import RecordingMailer
from support.temporal import Temporal, open_temporal
from support.until import TIMEOUT, until_async
from support.webhook_rig import NOW, enqueue_event, subscribe
from support.world import World

from octy_middleware.domain.notices import create_notice
from octy_middleware.states import NoticeKind
from octy_worker import daemon
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.webhooks.concurrency import MAX_PER_ACCOUNT, SLOTS
from octy_worker.webhooks.failures import PostResult
from octy_workflows import messages
from octy_workflows.messages import NoticeInput, WebhookInput
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.task_queues import background_task_queue
from octy_workflows.webhook import KeyWebhookWorkflow


@pytest.fixture
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


class SilentWebhookClient:
    """A webhook client whose servers accept connections and do not respond until they are released."""

    def __init__(self) -> None:
        self.waiting = 0
        self.let_go = threading.Event()

    def post(self, _parcel: object, *, first_attempt: bool = False) -> PostResult:
        self.waiting += 1
        assert self.let_go.wait(TIMEOUT)
        return PostResult(None, 200)


@pytest.mark.sqlite
def test_silent_webhook_servers_delay_no_mail(
    world: World, temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More posts hang than the worker has threads, and a mail goes out; each post arrives in the end."""
    mailer, silent, keys = RecordingMailer(), SilentWebhookClient(), world.register()
    monkeypatch.setattr(daemon, "SmtpMailer", lambda _settings: mailer)
    subscribe(world, "https://hooks.acme.example/")
    orders = [enqueue_event(world, keys.account_id, f"n{number}") for number in range(SLOTS + 1)]
    with world.database.write() as connection:
        detail = {"source": "198.51.100.7", "user_agent": "curl", "request_id": "r1"}
        [(pair,)] = connection.exec_driver_sql("SELECT id FROM key_pair").all()
        notice = create_notice(connection, NoticeKind.EXPOSED, keys.account_id, NOW, detail, key_pair_id=pair)
    parts = daemon.WorkerComponents(world.worker_settings(temporal_task_queue="silent"))
    parts.webhooks = WebhookActivities(world.database, silent, lambda: NOW)

    async def play() -> None:
        def start(run: Any, incident: object, name: str) -> Any:
            return temporal.client.start_workflow(
                run, incident, id=name, task_queue=background_task_queue(parts.task_queue)
            )

        async with parts.run_workers(temporal.client):
            try:
                posts = [
                    await start(KeyWebhookWorkflow.run, WebhookInput(order.webhook_id, "x"), order.webhook_id)
                    for order in orders
                ]
                for post in posts:
                    await _ordered(post)
                mail = await start(KeyNoticeWorkflow.run, NoticeInput(notice, messages.NoticeKind.EXPOSED), notice)
                async with asyncio.timeout(TIMEOUT / 2):
                    assert await mail.result() == "sent"
                assert silent.waiting == MAX_PER_ACCOUNT  # of one account
            finally:
                silent.let_go.set()
            assert {await post.result() for post in posts} == {"sent"}

    temporal.run(play())
    assert len(mailer.envelopes) == 1


async def _ordered(handle: Any) -> None:
    """Wait until the workflow has asked for its activity."""

    async def pending() -> bool:
        return bool((await handle.describe()).raw_description.pending_activities)

    await until_async(pending)
