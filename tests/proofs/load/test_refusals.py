"""A short flood of wrong secrets: right pairs pass, counts are exact, one case is opened."""

import pytest
from support.world import World

from proofs.load.refusals import VARIANTS, measure


@pytest.mark.parametrize(("adapter", "processes"), VARIANTS)
def test_a_flood_is_counted_exactly_and_refuses_no_right_pair(world: World, adapter: str, processes: int) -> None:
    assert measure(world, adapter, processes, refusals=300).faults == []
