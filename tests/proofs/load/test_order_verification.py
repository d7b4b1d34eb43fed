"""The measurement of an order's verification, in short: that it receives what it measures."""

from pathlib import Path

from support.staff_rig import StaffKeys
from support.world import World

from proofs.load import order_verification


def test_measured_orders_are_received_each_once(world: World, tmp_path: Path) -> None:
    times = order_verification.measure(world, StaffKeys.make(tmp_path), 3)
    assert all(milliseconds > 0 for milliseconds in times)
    assert world.rows("SELECT state, COUNT(*) FROM staff_order GROUP BY state") == [("received", 3)]
