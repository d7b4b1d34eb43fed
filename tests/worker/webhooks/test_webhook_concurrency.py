"""Webhook slots of a worker are shared between accounts; an account with a failing server gets one."""

from contextlib import ExitStack

import pytest
from support.webhook_rig import NOW, enqueue_event, subscribe
from support.world import World
from temporalio.exceptions import ApplicationError

from octy_worker.activities.webhooks import SLOTS_IN_USE, WebhookActivities
from octy_worker.webhooks.concurrency import MAX_PER_ACCOUNT, SLOTS, ConcurrencyLimiter
from octy_worker.webhooks.failures import PostResult


class RecordingWebhookClient:
    """A webhook client that records whether it had the short timeout."""

    def __init__(self) -> None:
        self.hurried: list[bool] = []

    def post(self, _parcel: object, *, first_attempt: bool = False) -> PostResult:
        self.hurried.append(first_attempt)
        return PostResult(None, 204)


def test_webhook_slots_are_shared_between_accounts() -> None:
    limiter = ConcurrencyLimiter(SLOTS)
    with ExitStack() as under_way:
        granted = [
            under_way.enter_context(limiter.slot("acme", first_attempt=True)) for _ in range(MAX_PER_ACCOUNT + 12)
        ]
        assert granted == [True] * MAX_PER_ACCOUNT + [False] * 12
        assert under_way.enter_context(limiter.slot("other", first_attempt=True))
    with limiter.slot("acme", first_attempt=True) as again:
        assert again


def test_account_with_a_failing_webhook_server_gets_one_slot_until_a_delivery() -> None:
    limiter = ConcurrencyLimiter(SLOTS)
    limiter.record_result("acme", succeeded=False)
    with limiter.slot("acme", first_attempt=True) as first, limiter.slot("acme", first_attempt=True) as second:
        assert (first, second) == (True, False)
    limiter.record_result("acme", succeeded=True)
    with limiter.slot("acme", first_attempt=True) as first, limiter.slot("acme", first_attempt=True) as second:
        assert (first, second) == (True, True)


def test_number_of_failed_webhook_accounts_that_are_remembered_is_limited() -> None:
    limiter = ConcurrencyLimiter(SLOTS)
    for number in range(10_001):
        limiter.record_result(f"a{number}", succeeded=False)
    with limiter.slot("a1", first_attempt=True) as first, limiter.slot("a1", first_attempt=True) as second:
        assert (first, second) == (True, True)


def test_webhook_retries_leave_slots_for_first_attempts() -> None:
    limiter = ConcurrencyLimiter(SLOTS)
    with ExitStack() as under_way:
        granted = [under_way.enter_context(limiter.slot(f"a{n}", first_attempt=False)) for n in range(SLOTS)]
        assert granted == [True] * (SLOTS // 2) + [False] * (SLOTS // 2)
        assert under_way.enter_context(limiter.slot("fresh", first_attempt=True))


@pytest.mark.sqlite
def test_webhook_beyond_the_share_is_retried_and_counts_as_no_attempt(world: World) -> None:
    keys, limiter, client = world.register(), ConcurrencyLimiter(SLOTS), RecordingWebhookClient()
    subscribe(world, "https://hooks.acme.example/")
    order = enqueue_event(world, keys.account_id)
    activities = WebhookActivities(world.database, client, lambda: NOW, limiter)
    with ExitStack() as under_way:
        for _ in range(MAX_PER_ACCOUNT):
            under_way.enter_context(limiter.slot(keys.account_id, first_attempt=True))
        with pytest.raises(ApplicationError) as held_back:
            activities.post_webhook(order)
    assert held_back.value.type == SLOTS_IN_USE
    assert held_back.value.next_retry_delay is not None
    assert world.rows("SELECT delivery_attempts FROM webhook WHERE id = :id", id=order.webhook_id) == [(0,)]
    assert activities.post_webhook(order).state == "sent"
    assert client.hurried == [True]
