"""One kill at each step of an order, with everything running."""

from pathlib import Path

from proofs.faults import order_kills


def test_order_killed_at_any_step_is_done_once_or_not_at_all(tmp_path: Path) -> None:
    assert order_kills.run(tmp_path, 1).faults == []
