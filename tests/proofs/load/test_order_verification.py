"""The measurement of an order's verification, in short: that it receives what it measures."""

from support.world import World

from proofs.load import order_verification


def test_measured_orders_are_received_each_once(world: World) -> None:
    assert order_verification.measure(world, 3, limit=10_000).faults == []
    assert world.rows("SELECT state, COUNT(*) FROM staff_order GROUP BY state") == [("received", 3)]
