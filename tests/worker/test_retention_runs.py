"""Runs of retention: resumed wherever they were killed, one holder at a time, nothing lost to recorders meanwhile."""

import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import count

import pytest
from retention_rig import (
    DAY,
    NOW,
    SETTINGS,
    TODAY,
    KilledError,
    MortalDatabase,
    add_attempts,
    add_counts,
    busy_world,
    counts,
    everything,
    fresh,
    hasty,
    prune,
    wait_until,
)
from sqlalchemy import text
from support.world import World

from octy_middleware import Database, DatabaseUnavailableError, Outcome
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import fetch_many
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording import counters
from octy_worker.domain.job_lease import LIFE, JobLease, LeaseLostError, read_job
from octy_worker.domain.step_pacer import StepPacer
from octy_worker.maintenance.retention import JOB, Ended, Run
from octy_worker.maintenance.retention.piece import prune_piece
from octy_worker.maintenance.retention.run import Cursor


def run_of(world: World, now: float = NOW, **options) -> Run:
    return Run(options.pop("database", world.database), SETTINGS, lambda: now, **{"pace": hasty(80), **options})


# Killed and resumed


@pytest.mark.parametrize("committed", [False, True], ids=["before a step", "after its commit"])
def test_a_run_that_was_killed_anywhere_ends_the_same(tmp_path, store, committed):
    whole = fresh(tmp_path / "whole", store)
    busy_world(whole)
    assert run_of(whole).go() is Ended.DONE
    expected, killed = everything(whole), 0
    whole.close()
    for step in count(1):
        world = fresh(tmp_path / str(step), store)
        busy_world(world)
        mortal = MortalDatabase(world.url, dies_at=step, committed=committed)
        with suppress(KilledError):
            run_of(world, database=mortal).go()
        mortal.close()
        state = read_job(world.database, JOB)
        begun = state is not None and state.started_at is not None
        if not begun or Cursor.parse(state.cursor).sweep:
            # Another worker, once the lease is over: it goes on with the limits of the run that it found.
            assert run_of(world, NOW + LIFE + 1 + (5 * 3600 if begun else 0)).go() is Ended.DONE
            killed += begun
        after = everything(world)
        world.close()
        assert after["counts"] == expected["counts"]
        if begun:
            assert after == expected
        if not mortal.dead:
            break
    assert killed > 10


def test_the_cursor_says_where_to_go_on(world):
    busy_world(world)
    stop = threading.Event()
    run_of(world, stop=stop, report=lambda done: stop.set() if done["counters"] else None).go()
    left = Cursor.parse(read_job(world.database, JOB).cursor)
    assert left.sweep == "counters"
    with world.database.write() as connection:  # a sweep that is over is not begun again
        connection.execute(text("UPDATE key_change SET at = 0 WHERE seq = 22"))
    run_of(world, NOW + 3600).go()
    assert (22,) in world.rows("SELECT seq FROM key_change")
    end = Cursor.parse(read_job(world.database, JOB).cursor)
    assert (end.sweep, end.compacted) == ("", TODAY - 35 * 1440)


@pytest.mark.parametrize("later", [2 * DAY, -2 * DAY])
def test_a_run_that_lay_for_long_or_comes_from_the_future_begins_anew(world, later):
    busy_world(world)
    stop = threading.Event()
    assert run_of(world, stop=stop, report=lambda _done: stop.set()).go() is Ended.STOPPED
    assert run_of(world, NOW + later).go() is Ended.DONE
    [(started_at,)] = world.rows("SELECT started_at FROM job")
    assert started_at == (NOW + later) * 1_000_000


# One holder


def test_a_second_holder_cannot_run(world):
    busy_world(world)
    tried = []

    def report(_done):
        tried.append(run_of(world, NOW + LIFE / 2).go())

    assert run_of(world, report=report).go() is Ended.DONE
    assert set(tried) == {Ended.HELD}


@pytest.mark.parametrize(
    ("later", "taken"), [(LIFE - 1, False), (LIFE + 1, True), (-LIFE, False), (-20 * LIFE, True), (DAY, True)]
)
def test_a_dead_holder_is_replaced_after_its_lease(world, later, taken):
    """Far back: the lease was given by a clock that was wrong."""
    assert JobLease(world.database, JOB, lambda: NOW).take() is not None
    other = JobLease(world.database, JOB, lambda: NOW + later)
    assert (other.take() is not None) is taken


def test_a_holder_that_was_replaced_does_nothing_more(world):
    busy_world(world)
    before = everything(world)
    usurper = JobLease(world.database, JOB, lambda: NOW + LIFE + 1)
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


def test_a_run_whose_lease_was_taken_stops(world):
    busy_world(world)
    usurper = JobLease(world.database, JOB, lambda: NOW + LIFE + 1)
    assert run_of(world, report=lambda _done: usurper.take()).go() is Ended.HELD
    assert world.rows("SELECT holder FROM job") == [(usurper.holder,)]


# Recorders meanwhile


@pytest.mark.parametrize("minute", [TODAY - 40 * 1440 + 5, TODAY - 40 * 1440])
def test_a_clock_that_jumps_loses_no_count(world, minute):
    """Recorders write minutes, and first minutes, of the very days that are being added up."""
    for day in range(36, 50):
        rows = (("pk_1", TODAY - day * 1440 + m, "10.0.0.1", "wrong_secret", 1) for m in range(100))
        add_counts(world, *rows)
    stop, written, database = threading.Event(), Counter(), Database(world.url)

    def write() -> None:
        while not stop.is_set():
            at = (minute + written["n"] % 7) * 60.0
            events = (AuthEvent(Outcome.WRONG_SECRET, at, "10.0.0.1", "10.0.0.0/24", key) for key in ("", "pk_1"))
            counts = counters.count_events((event, 2) for event in events)
            with database.write(mode=WriteMode.RECORDER) as connection:
                database.lock_keys(connection, ["pk_1"])
                [present] = fetch_many(connection, (counters.FIND_SOURCES, counters.source_places(counts)))
                counters.add_counts(connection, counts, present, max_sources=256)
            written["n"] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        wait_until(lambda: written["n"] > 5)
        for number in range(5):
            assert run_of(world, pace=StepPacer(bound=0.02, rest=0.2), now=NOW + number).go() is Ended.DONE
        wait_until(lambda: written["n"] > 60)
    finally:
        stop.set()
        thread.join()
        database.close()
    sums: Counter = Counter()
    for key, _, _, _, some in counts(world):
        sums[key] += some
    assert sums == {"pk_1": 1400 + 2 * written["n"], "": 2 * written["n"]}


# Outages, stops, pieces


class Away(Database):
    """A store that does not answer for a while."""

    def __init__(self, url: str, failures: int) -> None:
        super().__init__(url)
        self.failures = failures

    def write(self, **options):
        self.failures -= 1
        if self.failures >= 0:
            raise DatabaseUnavailableError("away")
        return super().write(**options)


def test_a_store_that_is_away_is_waited_out_or_given_up(world):
    busy_world(world)
    with pytest.raises(DatabaseUnavailableError):
        run_of(world, database=Away(world.url, 10**6), waits=0.3).go()
    away = Away(world.url, 3)
    assert run_of(world, database=away).go() is Ended.DONE
    away.close()
    assert counts(world)[-1] is not None


def test_a_fault_is_noted_without_its_text_and_the_job_given_back(world, monkeypatch):
    busy_world(world)
    run = run_of(world)
    monkeypatch.setattr(run, "_look", lambda _part: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.go()
    assert world.rows("SELECT holder, leased_until, last_error FROM job") == [("", None, "ZeroDivisionError")]
    prune(world)
    assert world.rows("SELECT last_error FROM job") == [("",)]


def test_stop_is_prompt_and_gives_the_job_back(world):
    busy_world(world)
    stop = threading.Event()
    run = run_of(
        world, stop=stop, pace=StepPacer(rest=1e6), report=lambda _done: threading.Timer(0.1, stop.set).start()
    )
    begun = time.monotonic()
    assert run.go() is Ended.STOPPED
    assert time.monotonic() - begun < 5
    assert world.rows("SELECT holder, leased_until FROM job") == [("", None)]


def test_a_piece_ends_in_time_and_the_next_one_goes_on_where_it_was(world, monkeypatch):
    # Far more steps than fit into a piece, on any machine: each rests three times as long as it took.
    add_attempts(world, *(time.time() - (100 + number / 100) * DAY for number in range(10_000)))
    happened: list[str] = []
    step = Run._step

    def counted(run: Run, *given) -> int:
        happened.append("step")
        return step(run, *given)

    def beat() -> bool:
        happened.append("beat")
        return False

    monkeypatch.setattr(Run, "_step", counted)
    ends, left = [], []
    while not ends or ends[-1] is not Ended.DONE:
        ended, _ = prune_piece(world.database, SETTINGS, time.time, beat=beat, lasts=0.03)
        ends.append(ended)
        left.append(world.rows("SELECT COUNT(*) FROM attempt")[0][0])
    assert set(ends[:-1]) == {Ended.STOPPED}
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    steps = len(happened) // 2
    assert happened == ["step", "beat"] * steps
    assert steps >= 10_000 / 500  # the most rows of a step: the piece did not do all at once


def test_a_piece_stops_at_once_when_its_worker_does(world):
    add_attempts(world, *(time.time() - (100 + number / 10) * DAY for number in range(1500)))
    ended, done = prune_piece(world.database, SETTINGS, time.time, beat=lambda: True)
    assert ended is Ended.STOPPED
    assert 0 < done["attempts"] < 1500
    assert world.rows("SELECT holder, leased_until FROM job") == [("", None)]


def test_the_pace_follows_what_steps_take():
    now = [0.0]
    pace = StepPacer(bound=0.02, monotonic=lambda: now[0])
    for _ in range(20):
        assert pace.pause_after(0.001) == 0.003
    assert pace.rows == 500
    assert pace.pause_after(0.1) == pytest.approx(0.3)
    assert pace.rows == 250
    for _ in range(20):
        pace.pause_after(0.1)
    assert pace.rows == 8
    pace.rows = 400
    taken = 0
    for portion in pace.portions(range(1000)):
        taken += len(portion)
        now[0] += 0.006
    assert taken == 200  # half of its time is over after the second of four portions
