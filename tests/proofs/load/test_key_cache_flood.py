"""Random public keys are refused and recorded; they cost neither memory nor rows, and push no known pair out."""

from support.world import World

from proofs.load.key_cache_flood import measure


def test_a_flood_of_unknown_keys_pushes_nothing_out_and_fills_nothing_up(world: World) -> None:
    assert measure(world, requests=20_000).faults == []
