"""Killed workers, and a killed database server, under load: no refusal that a client has seen is lost."""

import pytest
from support.stores import STORES

from proofs.load.kills import durable_world, measure


@pytest.mark.parametrize("store", STORES)
def test_what_was_refused_is_on_disk_whoever_is_killed(store: str) -> None:
    with durable_world(store) as world:
        assert measure(world, kills=3, pace=0.2, every=3, check_every=3).faults == []
