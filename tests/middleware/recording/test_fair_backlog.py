"""The order of items that wait for more than one batch."""

import threading
from collections.abc import Callable

import pytest
from support.until import until

from octy_middleware.recording.batch_queue import BatchQueue
from octy_middleware.recording.fair_backlog import FairBacklog

Item = tuple[str, str]  # key, source
CUSTOMER = ("pk_customer", "203.0.113.0/24")

FLOODS: dict[str, Callable[[int], Item]] = {
    "one key from one network": lambda _: ("pk_attacked", "10.0.0.0/24"),
    "one key from many networks": lambda number: ("pk_attacked", f"10.{number}.0.0/24"),
    "many keys from one network": lambda number: (f"pk_{number}", "10.0.0.0/24"),
    "one key from the customer's network": lambda _: ("pk_attacked", CUSTOMER[1]),
    "the customer's key from another network": lambda _: (CUSTOMER[0], "10.0.0.0/24"),
}
PLACES = {  # of the customer in a batch: the flood's items that rank as high came before
    "one key from one network": 2,
    "one key from many networks": 2,
    "many keys from one network": 2,
    "one key from the customer's network": 60,  # ranks: 1, 4, 9 … before 3,001
    "the customer's key from another network": 60,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_single_item_is_in_the_next_batch_behind_a_flood(flood: str) -> None:
    backlog = FairBacklog[Item](lambda item: item)
    backlog.add(map(FLOODS[flood], range(3000)))
    backlog.add([CUSTOMER])
    assert CUSTOMER in backlog.take(PLACES[flood])


def test_items_that_are_all_rare_are_taken_in_the_order_in_which_they_came() -> None:
    items = [(f"pk_{number}", f"10.{number}.0.0/24") for number in range(1000)]
    backlog = FairBacklog[Item](lambda item: item)
    backlog.add(items)
    assert [*backlog.take(400), *backlog.take(1000)] == items
    assert len(backlog) == 0


def test_items_of_a_flood_are_not_overtaken_for_ever() -> None:
    backlog = FairBacklog[Item](lambda item: item)
    backlog.add([("pk_attacked", "10.0.0.0/24")] * 30)
    taken: list[Item] = []
    for number in range(40_000):  # as many rare ones come as are taken
        backlog.add([(f"pk_{number}", f"10.{number}.1.0/24")])
        taken += backlog.take(1)
    assert taken.count(("pk_attacked", "10.0.0.0/24")) == 30


def test_batch_queue_with_groups_handles_every_item_once_and_rare_ones_in_the_next_batch() -> None:
    began, go, batches = threading.Event(), threading.Event(), list[list[Item]]()

    def handle(batch: list[Item]) -> list[Item]:
        batches.append(batch)
        began.set()
        assert go.wait(60)
        return []

    queue = BatchQueue[Item]("test", handle, max_batch=50, groups_of=lambda item: item)
    queue.put_urgent(("pk_first", "10.0.0.0/24"))
    assert began.wait(60)
    flood = [("pk_attacked", f"10.{number}.0.0/24") for number in range(500)]
    for item in (*flood, CUSTOMER):
        queue.put_urgent(item)
    assert len(queue) == 501
    go.set()
    until(lambda: len(queue) == 0 and sum(map(len, batches)) == 502)
    queue.close()
    assert CUSTOMER in batches[1]
    assert max(map(len, batches)) == 50
    assert sorted(item for batch in batches for item in batch) == sorted(
        [("pk_first", "10.0.0.0/24"), *flood, CUSTOMER]
    )


def test_closed_batch_queue_has_handled_its_backlog() -> None:
    began, go, handled = threading.Event(), threading.Event(), list[Item]()

    def handle(batch: list[Item]) -> list[Item]:
        began.set()
        assert go.wait(60)
        handled.extend(batch)
        return []

    queue = BatchQueue[Item]("test", handle, max_batch=10, groups_of=lambda item: item)
    for number in range(100):
        queue.put_urgent(("pk_attacked", f"10.{number}.0.0/24"))
    assert began.wait(60)
    go.set()
    queue.close(60)
    assert len(handled) == 100
