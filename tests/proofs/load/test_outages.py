"""Short outages under load: what passes, what is 503, and that nothing seen is lost. Both adapters, every kind once."""

from collections.abc import Iterator

import pytest
from support.postgres import PostgresServer

from proofs.load.databases import fresh_world
from proofs.load.outage_run import Limits
from proofs.load.outages import full_disk, measure

LIMITS = Limits(grace=0.9, commit_timeout=0.4, length=1.8)


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("file_moved", "starlette"),
        ("folder_moved", "flask"),
        ("database_locked", "starlette"),
        ("lock_file_held", "flask"),
        ("writes_refused", "starlette"),
    ],
)
def test_outage_of_a_file_delays_outcomes_and_loses_none(kind: str, adapter: str) -> None:
    with fresh_world("sqlite") as world:
        assert measure(world, adapter, kind, LIMITS).faults == []


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that is stopped and paused: other tests have theirs."""
    with PostgresServer() as server:
        yield server


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("server_stopped", "flask"),  # `make load` goes through all kinds, by both adapters
        ("server_paused", "starlette"),
        ("connections_refused", "flask"),
        ("keys_locked", "starlette"),
    ],
)
def test_outage_of_a_server_delays_outcomes_and_loses_none(server: PostgresServer, kind: str, adapter: str) -> None:
    with fresh_world("postgresql", server) as world:
        assert measure(world, adapter, kind, LIMITS).faults == []


def test_right_keys_pass_while_a_paused_server_has_more_clients_than_threads(server: PostgresServer) -> None:
    busy = Limits(grace=3.0, commit_timeout=0.8, length=4.0, attackers=24)
    with fresh_world("postgresql", server) as world:
        assert measure(world, "flask", "server_paused", busy).faults == []


def test_full_disk_delays_outcomes_and_loses_none() -> None:
    assert full_disk(["flask"], LIMITS).faults == []
