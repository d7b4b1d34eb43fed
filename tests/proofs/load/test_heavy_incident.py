from support.world import World

from proofs.load.heavy_incident import measure


def test_heavy_incident_is_shown_from_a_bounded_number_of_rows(world: World) -> None:
    assert measure(world, attempts=2_048 + 20_000, sources=2_000, timed=False).faults == []
