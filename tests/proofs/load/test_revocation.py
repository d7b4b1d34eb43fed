from support.world import World

from proofs.load.revocation import measure


def test_revoked_key_pair_stops_in_every_process_whatever_their_clocks_say(world: World) -> None:
    assert measure(world, rounds=3).faults == []
