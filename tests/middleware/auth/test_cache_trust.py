"""How long cached records are trusted: after a read, in an outage, and not after a pause of the process."""

import os
import time

import pytest
from support.served import Served, served
from support.until import until
from support.world import Keys, World

from octy_middleware.auth.cache_trust import CacheTrust
from octy_middleware.clock import elapsed
from octy_middleware.db.bulk_sql import run
from octy_middleware.domain import key_pairs
from octy_middleware.keys.key_record import CachedRecords

GRACE = 60.0


class Clocked:
    """Memory, and a process whose time is moved by hand."""

    def __init__(self, grace_period: float = GRACE) -> None:
        self.memory = CachedRecords()
        self.trust = CacheTrust(self.memory, grace_period)
        self.now = 1000.0

    @property
    def trusted(self) -> bool:
        return self.now <= self.memory.trusted_until

    def read(self) -> None:
        self.trust.begin(self.now)
        self.trust.succeed(self.now)

    def run(self, seconds: float, *, failing: bool = False) -> bool:
        """Let the process run so long; return whether memory was trusted all the time."""
        trusted = True
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            trusted &= self.trusted
            self.trust.tick(self.now)
            if failing:
                self.trust.begin(self.now)
                self.trust.fail(self.now)
        return trusted

    def pause(self, seconds: float) -> None:
        self.now += seconds


def test_cache_is_not_trusted_before_the_first_read() -> None:
    assert not Clocked().trusted


def test_successful_read_is_trusted_for_one_second() -> None:
    process = Clocked()
    process.read()
    assert process.run(1.0)
    process.run(0.25)
    assert not process.trusted


def test_failing_reads_extend_trust_until_the_grace_period_ends() -> None:
    process = Clocked()
    process.read()
    assert process.run(GRACE, failing=True)
    process.run(0.25, failing=True)
    assert not process.trusted


def test_hanging_read_counts_as_failed_and_extends_trust_without_a_gap() -> None:
    process = Clocked()
    process.read()
    process.run(0.25)
    process.trust.begin(process.now)
    assert process.run(GRACE - 0.25)
    process.run(0.5)
    assert not process.trusted


def test_grace_period_of_zero_ends_trust_with_the_last_read() -> None:
    process = Clocked(grace_period=0.0)
    process.read()
    process.run(0.25, failing=True)
    assert not process.trusted


@pytest.mark.parametrize("seconds", [1.25, 5.0, 30.0])
def test_cache_is_not_trusted_after_a_pause(seconds: float) -> None:
    process = Clocked()
    process.read()
    process.run(0.5)
    process.pause(seconds)
    assert not process.trusted
    process.trust.tick(process.now)
    assert not process.trusted
    process.read()
    assert process.trusted


@pytest.mark.parametrize("ticked_first", [True, False])
def test_read_that_failed_by_a_pause_does_not_extend_trust(ticked_first: bool) -> None:
    """A connection that ran out of time while the process was stopped says nothing about the database."""
    process = Clocked()
    process.read()
    process.trust.begin(process.now)
    process.pause(30.0)
    if ticked_first:
        assert process.trust.tick(process.now) == 30.0
    process.trust.fail(process.now)
    assert not process.trusted
    process.run(1.0)
    assert not process.trusted
    process.run(0.25, failing=True)
    assert process.trusted  # tried and failed since


def test_read_that_hangs_since_before_a_pause_does_not_extend_trust() -> None:
    process = Clocked()
    process.read()
    process.run(0.25)
    process.trust.begin(process.now)
    process.pause(5.0)
    assert not process.run(5.0)
    assert not process.trusted


def test_outage_with_a_pause_extends_trust_only_after_the_next_failed_read() -> None:
    process = Clocked()
    process.read()
    process.run(5.0, failing=True)
    process.pause(5.0)
    assert not process.trusted
    process.trust.tick(process.now)
    assert not process.trusted


def test_trust_clock_counts_the_time_of_a_suspended_machine() -> None:
    """`time.monotonic` does not on Linux: a laptop that slept for an hour would have aged by a second."""
    with open("/proc/uptime") as uptime:  # noqa: PTH123
        expected = float(uptime.read().split()[0])
    assert elapsed() == pytest.approx(expected, abs=1.0)


def _retire_elsewhere(world: World, public_key: str) -> None:
    with world.database.write() as connection:
        [(pair_id,)] = run(connection, "SELECT id FROM key_pair WHERE public_key = ?", public_key).all()
        assert key_pairs.retire(connection, pair_id, time.time())


def _first_decision(app: Served, keys: Keys) -> int:
    """Return the first status that is not 503: on a loaded machine, the new connection can exceed a look-up's time."""
    return until(lambda: status if (status := app.ask(keys.basic())) != 503 else None)


ROUNDS = int(os.environ.get("OCTY_TEST_PAUSES", "3"))


def test_key_pair_revoked_while_the_process_was_stopped_is_refused_at_once(world: World) -> None:
    everybody = [world.register(f"customer{number}") for number in range(ROUNDS)]
    with served(world) as app:
        for keys in everybody:
            assert [app.ask(keys.basic()) for _ in range(3)] == [200] * 3
            app.stop()
            _retire_elsewhere(world, keys.public_key)
            time.sleep(1.2)
            app.go_on()
            assert app.ask(keys.basic()) == 401


@pytest.mark.parametrize("database_kind", ["postgresql"])  # only a server's connection runs out of time in such a pause
@pytest.mark.parametrize("seconds", [5.0])
def test_key_pair_revoked_in_a_pause_of_seconds_is_refused_at_once(world: World, seconds: float) -> None:
    keys, other = world.register(), world.register("other")
    with served(world) as app:
        assert [app.ask(some.basic()) for some in (keys, other) for _ in range(3)] == [200] * 6
        app.stop()
        _retire_elsewhere(world, keys.public_key)
        time.sleep(seconds)
        app.go_on()
        assert _first_decision(app, keys) == 401
        assert _first_decision(app, other) == 200
