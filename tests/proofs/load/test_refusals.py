import pytest
from support.world import World

from proofs.load.refusals import VARIANTS, measure


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_flood_of_wrong_secrets_is_counted_exactly_and_refuses_no_right_key_pair(
    world: World, variant: dict[str, object]
) -> None:
    assert measure(world, **variant, refusals=300).faults == []
