"""Made-up keys against imported SHA-crypt hashes are refused and stop no right pair; a small run of the measurement."""

from support.world import World

from proofs.load.slow_hashes import measure


def test_strangers_against_slow_hashes_do_not_hold_up_right_pairs(world: World) -> None:
    """The median: the machine is shared. With hashes under the interpreter's lock it was fifty times as long."""
    report = measure(world, rounds=200_000, strangers=2, turns=1, seconds=1.5, part=0.5, limit=8.0)
    assert report.faults == []
