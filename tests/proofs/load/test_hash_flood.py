from support.world import World

from proofs.load.hash_flood import measure


def test_first_uses_pass_while_a_flood_fills_the_queue_for_slow_hashes(world: World) -> None:
    assert measure(world, slow=2, fast=10, clients=30, seed=1, rounds=1, max_waiting=6).faults == []
