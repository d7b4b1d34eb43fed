import pytest
from support.world import World

from proofs.load.refusals import VARIANTS, measure

# Each database with each adapter, and with each number of processes; `make load` goes through all.
PAIRS = [
    (database_kind, variant)
    for variant in VARIANTS
    for database_kind, adapter_of_one in (("sqlite", "flask"), ("postgresql", "starlette"))
    if (variant["adapter"] == adapter_of_one) == (variant["processes"] == 1)
]


@pytest.mark.parametrize(("database_kind", "variant"), PAIRS, ids=str)
def test_flood_of_wrong_secrets_is_counted_exactly_and_refuses_no_right_key_pair(
    world: World, variant: dict[str, object]
) -> None:
    assert measure(world, **variant, refusals=300).faults == []
