"""Retention runs: resumed wherever they were killed, one holder at a time, no count lost by concurrent recorders."""

import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import count

import pytest
from sqlalchemy import text
from support.retention_rig import (
    DAY,
    NOW,
    SETTINGS,
    TODAY,
    AwayDatabase,
    KilledError,
    MortalDatabase,
    add_attempts,
    add_counts,
    busy_world,
    counts,
    everything,
    fresh,
    prune,
)
from support.until import until
from support.world import World

from octy_middleware import Database, DatabaseUnavailableError, Outcome
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording import counters
from octy_middleware.recording.batch_effects import fold_batch
from octy_worker.domain.job_lease import LEASE_TTL, JobLease, LeaseLostError, read_job
from octy_worker.maintenance.retention import JOB, RetentionRun, RunStatus, prune_for
from octy_worker.maintenance.retention.run import STEP_ROWS, Cursor


def run_of(world: World, now: float = NOW, **options) -> RetentionRun:
    options = {"step_rows": 80, "step_pause": 0.0, **options}
    return RetentionRun(options.pop("database", world.database), SETTINGS, lambda: now, **options)


# Killed and resumed


def test_retention_run_killed_at_any_write_is_resumed_to_the_same_result(tmp_path, database_kind):
    """Killed right after each commit; before the next write begins, the database is the same."""
    whole = fresh(tmp_path / "whole", database_kind)
    busy_world(whole)
    assert run_of(whole).run() is RunStatus.DONE
    expected, killed = everything(whole), 0
    whole.close()
    for step in count(1):
        world = fresh(tmp_path / str(step), database_kind)
        busy_world(world)
        mortal = MortalDatabase(world.url, dies_at=step, committed=True)
        with suppress(KilledError):
            run_of(world, database=mortal).run()
        mortal.close()
        state = read_job(world.database, JOB)
        begun = state is not None and state.started_at is not None
        if not begun or Cursor.parse(state.cursor).sweep:
            # Another worker, once the lease is over: it goes on with the limits of the run that it found.
            assert run_of(world, NOW + LEASE_TTL + 1 + (5 * 3600 if begun else 0)).run() is RunStatus.DONE
            killed += begun
        after = everything(world)
        world.close()
        assert after["counts"] == expected["counts"]
        if begun:
            assert after == expected
        if not mortal.dead:
            break
    assert killed > 10


def test_retention_run_resumes_at_its_cursor(world):
    busy_world(world)
    stop = threading.Event()
    run_of(world, stop=stop, on_step=lambda done: stop.set() if done["counters"] else None).run()
    left = Cursor.parse(read_job(world.database, JOB).cursor)
    assert left.sweep == "counters"
    with world.database.write() as connection:  # a sweep that is over is not begun again
        connection.execute(text("UPDATE key_change SET at = 0 WHERE seq = 22"))
    run_of(world, NOW + 3600).run()
    assert (22,) in world.rows("SELECT seq FROM key_change")
    end = Cursor.parse(read_job(world.database, JOB).cursor)
    assert (end.sweep, end.compacted) == ("", TODAY - 35 * 1440)


@pytest.mark.parametrize("later", [2 * DAY, -2 * DAY])
def test_stale_or_future_retention_run_is_restarted(world, later):
    busy_world(world)
    stop = threading.Event()
    assert run_of(world, stop=stop, on_step=lambda _done: stop.set()).run() is RunStatus.STOPPED
    assert run_of(world, NOW + later).run() is RunStatus.DONE
    [(started_at,)] = world.rows("SELECT started_at FROM job")
    assert started_at == (NOW + later) * 1_000_000


# One holder


def test_retention_run_needs_the_job_lease(world):
    busy_world(world)
    tried = []

    def report(_done):
        tried.append(run_of(world, NOW + LEASE_TTL / 2).run())

    assert run_of(world, on_step=report).run() is RunStatus.DONE
    assert set(tried) == {RunStatus.NOT_LEASED}


@pytest.mark.parametrize(
    ("later", "taken"),
    [(LEASE_TTL - 1, False), (LEASE_TTL + 1, True), (-LEASE_TTL, False), (-20 * LEASE_TTL, True), (DAY, True)],
)
def test_lease_of_a_dead_holder_is_taken_after_it_expires(world, later, taken):
    """Far back: the lease was given by a clock that was wrong."""
    assert JobLease(world.database, JOB, lambda: NOW).take() is not None
    other = JobLease(world.database, JOB, lambda: NOW + later)
    assert (other.take() is not None) is taken


def test_holder_that_lost_its_lease_changes_nothing(world):
    busy_world(world)
    before = everything(world)
    usurper = JobLease(world.database, JOB, lambda: NOW + LEASE_TTL + 1)
    slow = JobLease(world.database, JOB, lambda: NOW)
    slow.take()
    slow.begin("attempts 0 ", NOW)
    assert usurper.take() is not None
    with pytest.raises(LeaseLostError), slow.step() as connection:
        connection.execute(text("DELETE FROM attempt"))
    with pytest.raises(LeaseLostError):
        slow.finish("")
    slow.release("mine")
    assert everything(world)["attempt"] == before["attempt"]
    assert world.rows("SELECT holder, last_error FROM job") == [(usurper.holder, "")]


def test_retention_run_stops_when_its_lease_is_taken(world):
    busy_world(world)
    usurper = JobLease(world.database, JOB, lambda: NOW + LEASE_TTL + 1)
    assert run_of(world, on_step=lambda _done: usurper.take()).run() is RunStatus.NOT_LEASED
    assert world.rows("SELECT holder FROM job") == [(usurper.holder,)]


# Recorders meanwhile


@pytest.mark.parametrize("minute", [TODAY - 40 * 1440 + 5, TODAY - 40 * 1440])
def test_retention_run_with_a_jumping_clock_loses_no_count(world, minute):
    """Recorders write minutes, and first minutes, of the very days that are being added up."""
    for day in range(36, 50):
        rows = (("pk_1", TODAY - day * 1440 + m, "10.0.0.1", "wrong_secret", 1) for m in range(100))
        add_counts(world, *rows)
    stop, written, database = threading.Event(), Counter(), Database(world.url)

    def write() -> None:
        while not stop.is_set():
            at = (minute + written["n"] % 7) * 60.0
            events = (AuthEvent(Outcome.WRONG_SECRET, at, "10.0.0.1", "10.0.0.0/24", key) for key in ("", "pk_1"))
            counts = fold_batch([event for event in events for _ in range(2)]).counts
            with database.write_batch({"pk_1"}) as transaction:
                counters.write_counts(transaction, counts)
            written["n"] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        until(lambda: written["n"] > 5)
        for number in range(5):
            assert run_of(world, step_rows=50, step_pause=0.002, now=NOW + number).run() is RunStatus.DONE
        until(lambda: written["n"] > 60)
    finally:
        stop.set()
        thread.join()
        database.close()
    sums: Counter = Counter()
    for key, _, _, _, some in counts(world):
        sums[key] += some
    assert sums == {"pk_1": 1400 + 2 * written["n"], "": 2 * written["n"]}


# Outages, stops, slices


def test_retention_run_retries_an_unavailable_database_up_to_its_timeout(world):
    busy_world(world)
    with pytest.raises(DatabaseUnavailableError):
        run_of(world, database=AwayDatabase(world.url, 10**6), database_timeout=0.3).run()
    unavailable = AwayDatabase(world.url, 3)
    assert run_of(world, database=unavailable).run() is RunStatus.DONE
    unavailable.close()
    assert counts(world)[-1] is not None


def test_retention_error_is_recorded_without_its_text_and_the_lease_released(world):
    busy_world(world)
    with pytest.raises(ZeroDivisionError):
        run_of(world, on_step=lambda _counts: 1 / 0).run()
    assert world.rows("SELECT holder, leased_until, last_error FROM job") == [("", None, "ZeroDivisionError")]
    prune(world)
    assert world.rows("SELECT last_error FROM job") == [("",)]


def test_stopped_retention_run_ends_promptly_and_releases_the_lease(world):
    busy_world(world)
    stop = threading.Event()
    run = run_of(world, stop=stop, step_pause=60.0, on_step=lambda _done: threading.Timer(0.1, stop.set).start())
    begun = time.monotonic()
    assert run.run() is RunStatus.STOPPED
    assert time.monotonic() - begun < 5
    assert world.rows("SELECT holder, leased_until FROM job") == [("", None)]


def test_prune_for_ends_after_its_seconds_and_the_next_call_resumes(world, monkeypatch):
    # Far more steps than fit into the time, on any machine: each pauses for 60 ms.
    add_attempts(world, *(time.time() - (100 + number / 100) * DAY for number in range(2_000)))
    happened: list[str] = []
    note = JobLease.note

    def counted(lease: JobLease, *given):
        happened.append("step")
        note(lease, *given)

    def should_stop() -> bool:
        happened.append("asked")
        return False

    monkeypatch.setattr(JobLease, "note", counted)
    ends, left = [], []
    while not ends or ends[-1] is not RunStatus.DONE:
        ended, _ = prune_for(world.database, SETTINGS, time.time, should_stop=should_stop, seconds=0.1)
        ends.append(ended)
        left.append(world.rows("SELECT COUNT(*) FROM attempt")[0][0])
    assert set(ends[:-1]) == {RunStatus.STOPPED}
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    steps = len(happened) // 2
    assert happened == ["step", "asked"] * steps
    assert steps >= 2_000 / STEP_ROWS


def test_prune_for_stops_after_a_step_when_should_stop_is_true(world):
    add_attempts(world, *(time.time() - (100 + number / 10) * DAY for number in range(1500)))
    ended, done = prune_for(world.database, SETTINGS, time.time, should_stop=lambda: True)
    assert ended is RunStatus.STOPPED
    assert 0 < done["attempts"] < 1500
    assert world.rows("SELECT holder, leased_until FROM job") == [("", None)]
