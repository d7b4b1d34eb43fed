"""Leases on jobs: one whose holder was a process of this host and has ended is free at once."""

import os
import socket
import subprocess
import sys

import pytest
from support.world import World

from octy_middleware.db.bulk_sql import run
from octy_worker.domain.job_lease import JobLease

NOW = 1_770_000_000.0
HOST = socket.gethostname()[:40]


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("host", "process_id", "freed"),
    [
        (HOST, ended_process, True),
        (HOST, os.getpid, False),
        (HOST, lambda: 1, False),  # of another user
        ("elsewhere", ended_process, False),
    ],
    ids=["ended", "running", "of another user", "of another host"],
)
def test_lease_of_a_process_that_has_ended_is_released(world: World, host, process_id, freed) -> None:
    lease = JobLease(world.database, "export", lambda: NOW)
    lease.take()
    holder = f"{host}/{process_id()}/ab"
    with world.database.write() as connection:
        run(connection, "UPDATE job SET holder = ?", holder)
    lease.free_if_dead()
    assert world.rows("SELECT holder FROM job") == [("" if freed else holder,)]


@pytest.mark.sqlite
def test_lease_of_a_process_that_may_not_be_asked_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another user's process holds it; root is refused none."""

    def refuse(_process_id: int, _number: int) -> None:
        raise PermissionError

    lease = JobLease(world.database, "export", lambda: NOW)
    lease.take()
    monkeypatch.setattr(os, "kill", refuse)
    lease.free_if_dead()
    assert world.rows("SELECT holder FROM job") == [(lease.holder,)]
