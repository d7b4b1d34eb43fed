"""Killed workers under load lose no refusal that a client has seen."""

from support.world import World

from load.kills import measure


def test_killed_workers_lose_no_refusal_that_was_seen(world: World) -> None:
    assert measure(world, kills=2, answers=100).faults == []
