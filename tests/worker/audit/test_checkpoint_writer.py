"""Checkpoints as workers take them: at most one a minute, one a day without entries, each continuing the last."""

import asyncio
from dataclasses import dataclass, field

import pytest
from support.until import until
from support.world import INSTALLATION, World

from octy_middleware.keys.keychain import Keychain
from octy_worker.audit import repository
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.checkpoints import public_keys, read_checkpoint, read_checkpoints

KEYS = Keychain({"k1": b"1" * 32})
NOW = 1_800_000_000.0
DAY = 86_400.0


@dataclass
class Rig:
    """One worker's writer; the lines of its system log."""

    world: World
    keys: Keychain = field(default_factory=lambda: KEYS)
    now: float = NOW
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.writer = CheckpointWriter(
            self.world.database, self.keys, INSTALLATION, lambda: self.now, write=self.lines.append
        )

    def append(self, count: int = 1) -> None:
        with self.world.database.write_session() as session:
            for _ in range(count):
                repository.append(session, "keys.revoke", actor="ada", now=self.now)

    def take_after(self, seconds: float) -> int | None:
        """Return the entry of the checkpoint that was due after so many seconds, or None."""
        self.now += seconds
        line = self.writer.take_if_due()
        return None if line is None else read_checkpoint(line, public_keys(self.keys)).seq


@pytest.fixture
def rig(world: World) -> Rig:
    return Rig(world)


def test_checkpoint_is_taken_after_new_entries_at_most_once_a_minute(rig: Rig) -> None:
    assert rig.take_after(0) == 0  # of the empty log
    rig.append()
    assert rig.take_after(59) is None
    assert rig.take_after(1) == 1
    rig.append(3)
    assert rig.take_after(30) is None
    assert rig.take_after(30) == 4
    assert rig.take_after(3600) is None  # nothing new


def test_checkpoint_is_taken_once_a_day_without_new_entries(rig: Rig) -> None:
    rig.append()
    assert [rig.take_after(seconds) for seconds in (0, DAY - 1, 1, DAY)] == [1, None, 1, 1]
    assert [
        checkpoint.number for checkpoint in read_checkpoints(rig.lines, public_keys(KEYS), installation=INSTALLATION)
    ] == [1, 2, 3]


def test_checkpoints_of_two_workers_continue_each_other(world: World, rig: Rig) -> None:
    other = Rig(world)
    for worker in (rig, other, rig):
        worker.now = rig.now = other.now = rig.now + 60
        worker.append()
        assert worker.take_after(0) is not None
        assert (other if worker is rig else rig).take_after(0) is None
    assert len(rig.lines) == 2
    merged = read_checkpoints([*rig.lines, *other.lines], public_keys(KEYS), installation=INSTALLATION)
    assert [checkpoint.seq for checkpoint in merged] == [1, 2, 3]
    with world.database.read_session() as session:
        assert sorted(repository.saved_checkpoints(session)) == sorted([*rig.lines, *other.lines])


def test_checkpoint_that_another_worker_takes_in_the_same_moment_is_not_taken_again(world: World, rig: Rig) -> None:
    other = Rig(world)

    def clock() -> float:
        if not other.lines:  # this writer has seen that one is due
            other.take_after(0)
        return NOW

    writer = CheckpointWriter(world.database, KEYS, INSTALLATION, clock, write=rig.lines.append)
    assert writer.take_if_due() is None
    assert (len(rig.lines), len(other.lines)) == (0, 1)


def test_checkpoints_continue_after_a_rotation_of_keys(world: World, rig: Rig) -> None:
    rig.append()
    rig.take_after(0)
    rotated = Rig(world, Keychain({**KEYS, "k2": b"2" * 32}), now=rig.now)
    assert rotated.take_after(DAY) == 1
    lines = [*rig.lines, *rotated.lines]
    assert len(read_checkpoints(lines, public_keys(rotated.keys), installation=INSTALLATION)) == 2
    assert '"key":"k2"' in rotated.lines[0]


def test_changed_checkpoint_in_the_database_is_logged_and_does_not_stop_the_next(
    world: World, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.take_after(0)
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit_checkpoint SET text = 'octy-checkpoint: {} x'")
    rig.append()
    assert rig.take_after(60) == 1
    assert "checkpoint 1 in the database was changed; run `octy audit verify`" in caplog.text


def test_running_writer_takes_checkpoints_until_it_is_stopped(rig: Rig) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(rig.writer.run(stop, poll_interval=0.01))
        await asyncio.to_thread(until, lambda: len(rig.lines) == 1)
        rig.now += 60
        await asyncio.to_thread(rig.append)
        await asyncio.to_thread(until, lambda: len(rig.lines) == 2)
        stop.set()
        await running

    asyncio.run(run())
