from support.world import World

from proofs.load.key_cache_flood import measure


def test_flood_of_unknown_keys_costs_no_memory_or_rows_and_evicts_no_known_key_pair(world: World) -> None:
    assert measure(world, keys=5_000).faults == []
