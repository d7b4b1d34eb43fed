"""No account's webhooks take all slots of a worker, and none that were slow once."""

from contextlib import ExitStack

import pytest
from support.world import World
from temporalio.exceptions import ApplicationError
from webhook_rig import NOW, subscribe, tell

from octy_worker.activities.webhooks import HELD_BACK, WebhookActivities
from octy_worker.webhooks.faults import Delivery
from octy_worker.webhooks.shares import SHARE, SLOTS, Shares


class Arrives:
    """A courier that notes whether it was told to hurry."""

    def __init__(self) -> None:
        self.hurried: list[bool] = []

    def deliver(self, _parcel: object, *, first_try: bool = False) -> Delivery:
        self.hurried.append(first_try)
        return Delivery(None, 204)


def test_one_account_gets_its_share_and_the_others_the_rest() -> None:
    shares = Shares(SLOTS)
    with ExitStack() as under_way:
        granted = [under_way.enter_context(shares.turn("acme", first_try=True)) for _ in range(SHARE + 12)]
        assert granted == [True] * SHARE + [False] * 12
        assert under_way.enter_context(shares.turn("other", first_try=True))
    with shares.turn("acme", first_try=True) as again:
        assert again


def test_an_account_whose_server_failed_gets_one_slot_until_a_post_arrives() -> None:
    shares = Shares(SLOTS)
    shares.note("acme", arrived=False)
    with shares.turn("acme", first_try=True) as first, shares.turn("acme", first_try=True) as second:
        assert (first, second) == (True, False)
    shares.note("acme", arrived=True)
    with shares.turn("acme", first_try=True) as first, shares.turn("acme", first_try=True) as second:
        assert (first, second) == (True, True)


def test_retries_of_many_accounts_leave_slots_for_first_tries() -> None:
    shares = Shares(SLOTS)
    with ExitStack() as under_way:
        granted = [under_way.enter_context(shares.turn(f"a{n}", first_try=False)) for n in range(SLOTS)]
        assert granted == [True] * (SLOTS // 2) + [False] * (SLOTS // 2)
        assert under_way.enter_context(shares.turn("fresh", first_try=True))


@pytest.mark.sqlite
def test_a_post_beyond_the_share_is_asked_for_again_and_is_no_try(world: World) -> None:
    keys, shares, courier = world.register(), Shares(SLOTS), Arrives()
    subscribe(world, "https://hooks.acme.example/")
    order = tell(world, keys.account_id)
    activities = WebhookActivities(world.database, courier, lambda: NOW, shares)
    with ExitStack() as under_way:
        for _ in range(SHARE):
            under_way.enter_context(shares.turn(keys.account_id, first_try=True))
        with pytest.raises(ApplicationError) as held_back:
            activities.post_webhook(order)
    assert held_back.value.type == HELD_BACK
    assert held_back.value.next_retry_delay is not None
    assert world.rows("SELECT tries FROM webhook WHERE id = :id", id=order.webhook_id) == [(0,)]
    assert activities.post_webhook(order).state == "sent"
    assert courier.hurried == [True]
