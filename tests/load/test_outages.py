"""Short outages under load: what passes, what is 503, and that nothing seen is lost. Both doors, every kind once."""

import pytest
from support.world import World

from load.outages import Limits, full_disk, measure

LIMITS = Limits(grace=0.9, commit_timeout=0.4, length=1.8)


@pytest.mark.parametrize(
    ("kind", "door"),
    [
        ("file_moved", "starlette"),
        ("folder_moved", "flask"),
        ("database_locked", "starlette"),
        ("lock_file_held", "flask"),
        ("writes_refused", "starlette"),
    ],
)
def test_an_outage_costs_time_and_no_outcome(world: World, kind: str, door: str) -> None:
    assert measure(world, door, kind, LIMITS).faults == []


def test_a_full_disk_costs_time_and_no_outcome() -> None:
    assert full_disk(["flask"], LIMITS).faults == []
