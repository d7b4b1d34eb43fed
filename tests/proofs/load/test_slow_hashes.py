from support.world import World

from proofs.load.slow_hashes import measure


def test_made_up_keys_against_slow_hashes_do_not_delay_right_key_pairs(world: World) -> None:
    """The median: the machine is shared. With hashes under the interpreter's lock it was fifty times as long."""
    sizes = {"rounds": 200_000, "clients": 2, "turns": 1, "seconds": 1.5}
    assert measure(world, **sizes, part=0.5, limit=8.0, controls=False).faults == []
