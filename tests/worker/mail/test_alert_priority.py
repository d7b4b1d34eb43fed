"""Notices and webhooks do not start while an alert is in progress, and alerts delay them only for a limited time."""

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from support.cli_rig import open_incident
from support.relay_rig import FakeClock, RecordingClient
from support.until import TIMEOUT, until_async
from support.world import World
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from octy_worker.mail.alert_priority import MAX_DELAY, AlertsInProgress, interceptors
from octy_worker.outbox.relay import Relay
from octy_workflows.messages import MailKind, SendMailInput
from octy_workflows.task_queues import TaskQueueKind
from worker.outbox.test_outbox_priority import give_many


class ObservedAlerts(AlertsInProgress):
    """Counts who waits. Its clock stands still, so that no alert times out on a busy machine."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        super().__init__(self.clock)
        self.waiting = 0

    async def wait(self) -> None:
        self.waiting += 1
        try:
            await super().wait()
        finally:
            self.waiting -= 1


class NextInterceptor(ActivityInboundInterceptor):
    """What runs an activity once the interceptors let it."""

    def __init__(self) -> None:
        self.orders: list[SendMailInput] = []
        self.error: Exception | None = None

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002  # its name there
        self.orders += input.args
        if self.error is not None:
            raise self.error


async def run(alerts: AlertsInProgress, work: TaskQueueKind, order: SendMailInput, following: NextInterceptor) -> None:
    """Run an activity as the worker of that task queue does."""
    chain: ActivityInboundInterceptor = following
    for each in interceptors(alerts, work):
        chain = each.intercept_activity(chain)
    await chain.execute_activity(ExecuteActivityInput(print, [order], None, {}))


def order(kind: MailKind, subject_id: str) -> SendMailInput:
    return SendMailInput(subject_id, kind, 1, time.time())


def test_relay_starts_no_notice_while_an_alert_is_in_progress(world: World) -> None:
    _, incident_id = open_incident(world, "attacked")
    for number in range(3):  # of one account, they would be one
        give_many(world, world.register(f"changing-{number}").account_id, 1)
    temporal_client = RecordingClient()

    def notices() -> list[str]:
        return [each for each in temporal_client.ids if "notice" in each]

    async def play() -> None:
        alerts = ObservedAlerts()
        options: dict[str, Any] = {"alerts": alerts, "notice_interval": 0}
        relay = Relay(world.database, temporal_client, world.worker_settings(), time.time, **options)  # type: ignore[arg-type]
        running = asyncio.create_task(relay.run())
        await until_async(lambda: alerts.waiting or notices())
        assert not notices()
        alerts.end(incident_id)
        await until_async(lambda: len(notices()) == 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


def test_relay_limits_the_rate_of_notices_and_of_no_other_message(world: World) -> None:
    for number in range(5):
        give_many(world, world.register(f"changing-{number}").account_id, 1)
    others = int(world.rows("SELECT COUNT(*) FROM outbox")[0][0]) - 5
    started: list[tuple[str, float]] = []

    class Timed(RecordingClient):
        async def start_workflow(self, run, argument, *, id, **options):  # noqa: A002
            started.append((id, asyncio.get_running_loop().time()))
            if "notice" in id:  # not done before every other message was sent: none of them waits for notices
                await until_async(lambda: sum("notice" not in each for each, _ in started) == others)

    relay = Relay(world.database, Timed(), world.worker_settings(relay_concurrency=40), time.time)  # type: ignore[arg-type]
    asyncio.run(relay.deliver_pending())
    notices = [at for each, at in started if "notice" in each]
    assert len(notices) == 5
    assert notices[-1] - notices[0] > 3 * 4.0 / 40  # four pauses, of which the first may have begun late
    times = [at for each, at in started if "notice" not in each]
    assert len(times) == others > 1
    assert min(later - earlier for earlier, later in pairwise(times)) < 0.5 * 4.0 / 40  # at a limited rate none is


@pytest.mark.parametrize("error", [None, RuntimeError("the mail server hangs")])
def test_notice_mails_start_when_the_first_attempt_of_the_alert_is_over(error: Exception | None) -> None:
    async def play() -> None:
        alerts, notices, mails = ObservedAlerts(), NextInterceptor(), NextInterceptor()
        mails.error = error
        alerts.begin("case")
        begun = asyncio.create_task(
            run(alerts, TaskQueueKind.NOTICES, order(MailKind.CONTACT_CHANGED, "notice"), notices)
        )
        await until_async(lambda: alerts.waiting)
        assert not notices.orders
        await asyncio.gather(
            run(alerts, TaskQueueKind.ALERTS, order(MailKind.ALERT, "case"), mails), return_exceptions=True
        )
        await begun
        assert [each.subject_id for each in (*mails.orders, *notices.orders)] == ["case", "notice"]

    asyncio.run(play())


def test_endless_alerts_delay_a_notice_no_longer_than_its_limit() -> None:
    async def play() -> None:
        alerts = ObservedAlerts()
        alerts.begin("first")
        alerts.begin("second")
        waiting = asyncio.create_task(alerts.wait())
        await until_async(lambda: alerts.waiting)
        alerts.clock.now += MAX_DELAY / 2
        alerts.begin("third")
        alerts.clock.now += MAX_DELAY / 2
        alerts.end("first")
        alerts.end("second")
        await asyncio.wait_for(waiting, TIMEOUT)

    asyncio.run(play())


@pytest.mark.parametrize(
    "work", [None, TaskQueueKind.INCIDENTS, TaskQueueKind.MAILS, TaskQueueKind.MAIL_RETRIES, TaskQueueKind.BACKGROUND]
)
def test_mails_that_customers_or_staff_wait_for_do_not_wait_for_alerts(work: TaskQueueKind | None) -> None:
    async def play() -> None:
        assert interceptors(AlertsInProgress(), work) == []

    asyncio.run(play())
