import pytest
from support.databases import DATABASES

from proofs.load.kills import durable_world, measure


@pytest.mark.parametrize("database", DATABASES)
def test_refusals_are_on_disk_when_workers_and_database_server_are_killed(database: str) -> None:
    with durable_world(database) as world:
        assert measure(world, kills=3, interval=0.2, outage_every=3, check_every=3).faults == []
