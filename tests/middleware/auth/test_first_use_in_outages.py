"""A primary that can be read and not written: right key pairs pass, also at their first use; refusals are 503.

A standby lets none in: tests/middleware/db/test_standby.py. Refused writes and a full disk, under load:
tests/proofs/load/outages.py.
"""

import ctypes
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from proofs.load.postgres_outages import table_locked, writer_stuck
from proofs.load.sqlite_outages import database_locked, lock_file_held
from support.until import until
from support.world import FakeRequest, World

from octy_middleware import Authenticator, Outcome

_NOBODY = 65_534  # a user's id
_SERVER: Any = None  # of the outages' second parameter, which these do not use
OUTAGES = {
    ("sqlite", "stopped process of ours"): lock_file_held,
    ("sqlite", "tool without our locks"): database_locked,
    ("postgresql", "stopped process of ours"): writer_stuck,
    ("postgresql", "tool without our locks"): table_locked,
}


def outcome_of(authenticator: Authenticator, header: str) -> Outcome | None:
    return authenticator.decide(FakeRequest(header)).outcome


@pytest.mark.parametrize("writer", ["stopped process of ours", "tool without our locks"])
def test_right_key_pairs_pass_at_their_first_use_while_another_writer_holds_the_database(
    world: World, writer: str
) -> None:
    used, attacked, *fresh = (world.register(f"customer-{number}") for number in range(5))
    with world.authenticator(commit_timeout=1.0) as authenticator, ThreadPoolExecutor(1) as attacker:
        assert outcome_of(authenticator, used.basic()) is Outcome.ACCEPTED
        until(lambda: authenticator.health().queued == 0)
        with OUTAGES[world.database_kind, writer](world, _SERVER):
            # The refusal comes alone, so it is committed by the thread that loads keys, which waits for the writer.
            refused = attacker.submit(outcome_of, authenticator, attacked.basic("sk_wrong"))
            assert [outcome_of(authenticator, keys.basic()) for keys in (used, *fresh)] == [Outcome.ACCEPTED] * 4
            assert refused.result(60) is Outcome.DATABASE_UNAVAILABLE
            assert outcome_of(authenticator, attacked.basic("sk_wrong")) is Outcome.DATABASE_UNAVAILABLE
        until(lambda: authenticator.health().queued == 0 and not authenticator.health().last_error)
    assert world.recorded() == {"accepted": 5, "wrong_secret": 2}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make these files read-only for this thread and those that it starts, even for root."""
    files, is_root = [*folder.iterdir(), folder], os.geteuid() == 0
    for file in files:
        file.chmod(0o555)
    if is_root:
        ctypes.CDLL(None).setfsuid(_NOBODY)  # of this thread alone; root may write everything
    try:
        yield
    finally:
        if is_root:
            ctypes.CDLL(None).setfsuid(0)
        for file in files:
            file.chmod(0o777)  # the threads that were started stay another user's


def test_right_key_pairs_pass_at_their_first_use_while_the_file_is_read_only() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        keys, other = world.register("acme"), world.register("other")
        world.rows("SELECT 1")  # an open connection keeps the log, as a running worker does

        def ask() -> list[Outcome | None]:
            with world.authenticator(commit_timeout=1.0) as authenticator:
                with read_only(Path(folder)):
                    asked = [outcome_of(authenticator, header) for header in (keys.basic(), other.basic("sk_wrong"))]
                    asked += [outcome_of(authenticator, other.basic())]
                until(lambda: authenticator.health().queued == 0 and not authenticator.health().last_error)
                return asked

        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(ask).result(60) == [
                Outcome.ACCEPTED,
                Outcome.DATABASE_UNAVAILABLE,
                Outcome.ACCEPTED,
            ]
        assert world.recorded() == {"accepted": 2, "wrong_secret": 1}
        world.close()
