"""The simulation against what it stands for: the real ledger, a real memory of keys, and its own formulas."""

import random
from collections import Counter
from itertools import islice

import pytest
from support.world import World

from octy_middleware import Outcome
from octy_middleware.http import event
from octy_middleware.recording import outcome_writer
from proofs.benchmarks import simulated_store, simulated_traffic, simulation
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.bulk import insert_keys, public_key
from proofs.benchmarks.presentation import Table
from proofs.benchmarks.simulated_store import PRICES, Books, Cost, _Locks, _Process, play
from proofs.benchmarks.simulated_traffic import (
    ACCEPTED,
    ATTACKERS,
    BATCH_DELAY,
    UNKNOWN,
    WRONG,
    Entry,
    Load,
    crowds,
    distinct,
    draw,
    missed,
)
from proofs.benchmarks.simulation import BEGIN, END, Figures, cases, main, written

SMALL = Load(requests=100, customers=300, processes=3, seconds=60)


def test_it_counts_what_the_real_ledger_writes(world: World, monkeypatch):
    monkeypatch.setattr(
        simulated_traffic, "SHARES", {"mistakes": 0.1, "stuffing": 0.3, "hot key": 0.2, "unknown keys": 0.1}
    )
    monkeypatch.setattr(simulated_traffic, "STUFFED", 5)
    monkeypatch.setattr(simulated_traffic, "MOST_SOURCES", 40)
    monkeypatch.setattr(simulated_store, "MOST_ATTEMPTS", 30)
    insert_keys(world, 60)
    real = outcome_writer.OutcomeWriter(
        world.database,
        threshold=20,
        attempts_per_minute=30,
        sources_per_minute=40,
        max_networks=10_000,
        clock=lambda: 1e9,
    )
    books, rows = Books(), 0
    stream = draw(Load(requests=15, customers=60, seconds=120))
    while batch := list(islice(stream, 20)):
        rows += books.write(batch)[1]
        real.write([as_recorded(entry) for entry in batch])
    [(found, total)] = world.rows("SELECT COUNT(*), SUM(count) FROM outcome_minute")
    assert total == 1800 > rows > found > 0
    assert len(books.rows) == pytest.approx(found, abs=3)  # which of a batch's new sources have room, differs
    assert world.rows("SELECT COUNT(*) FROM attempt") == [(books.attempt_rows,)]
    assert world.rows("SELECT COUNT(*) FROM incident") == [(len(books.told),)]
    assert world.rows("SELECT COUNT(*) FROM outbox") == [(books.messages,)]
    assert books.messages > len(books.told) > 0


def as_recorded(entry):
    source = f"10.{(entry.place & 8191) >> 8}.{entry.place & 255}.1"
    key = "" if entry.kind == UNKNOWN else public_key(entry.key)
    outcome = {ACCEPTED: Outcome.ACCEPTED, WRONG: Outcome.WRONG_SECRET, UNKNOWN: Outcome.UNKNOWN_KEY}[entry.kind]
    return event.AuthEvent(outcome, 6e8 + entry.at, source, event.network_of(source), key)


def test_rows_a_minute_are_as_many_as_the_formula_says():
    load = Load(requests=400, customers=5000)
    own = [entry for entry in draw(load) if entry.place & 8191 < ATTACKERS]
    assert len({entry.place for entry in own}) == pytest.approx(distinct(crowds(load), len(own)), rel=0.03)


def test_customers_are_all_there_and_make_all_requests():
    people = crowds(Load(customers=12_345))
    assert sum(crowd.number for crowd in people) == 12_345
    assert sum(crowd.number * crowd.share for crowd in people) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("size", [20, 100, 250, 300])
def test_what_memory_lacks_is_what_a_real_one_of_that_size_lacked(size):
    chance, memory, lacking = random.Random(7), {}, 0
    keys = chance.choices(range(300), weights=[1 / (rank + 1) for rank in range(300)], k=40_000)
    for number, key in enumerate(keys):
        if key not in memory:
            lacking += number >= 10_000
            memory[key] = None
            if len(memory) > size:
                del memory[next(iter(memory))]
    assert missed(crowds(SMALL), size) == pytest.approx(lacking / 30_000, abs=0.015)


@pytest.mark.parametrize(
    ("coming", "now", "ready"),
    [
        ([(1.0, ACCEPTED), (1.1, ACCEPTED)], 0.0, 1.0 + BATCH_DELAY),
        ([(1.0, ACCEPTED), (1.1, WRONG)], 0.0, 1.1),
        ([(1.0, ACCEPTED), (1.0 + 2 * BATCH_DELAY, WRONG)], 0.0, 1.0 + BATCH_DELAY),
        ([(1.0, UNKNOWN)], 0.0, 1.0),
        ([(1.0, ACCEPTED)], 1.05, 1.05),
        ([], 1.0, None),
    ],
    ids=["lingers", "someone waits", "someone comes too late", "alone and waits", "queued meanwhile", "nothing comes"],
)
def test_a_batch_begins_when_the_recorder_would_begin_it(coming, now, ready):
    process = _Process(BATCH_DELAY)
    process.entries = [Entry(at, 1, 1, kind) for at, kind in coming]
    assert process.ready(now) == (ready if ready is None else pytest.approx(ready))


def test_a_batch_is_no_bigger_than_the_recorders():
    process = _Process(BATCH_DELAY)
    process.entries = [Entry(0.0, 1, 1, ACCEPTED)] * 4500
    assert [len(process.take(1.0)) for _ in range(4)] == [2000, 2000, 500, 0]


@pytest.mark.parametrize(
    ("second", "alone", "end"),
    [({2}, False, 1.5), ({1}, False, 2.0), ({2}, True, 2.0)],
    ids=["another key", "the same key", "alone"],
)
def test_who_waits_for_whom(second, alone, end):
    locks = _Locks()
    assert locks.hold(0.0, {1}, 1.0, alone=False) == 1.0
    assert locks.hold(0.5, second, 1.0, alone=alone) == end
    after = locks.hold(0.6, {3}, 1.0, alone=False)
    assert after == (end + 1.0 if alone else 1.6)


@pytest.mark.parametrize("store", PRICES)
def test_everything_that_comes_is_written_once(store):
    traffic = list(draw(SMALL))
    found = play(SMALL, traffic, PRICES[store])
    kinds = Counter(entry.kind for entry in traffic)
    assert found.entries == len(traffic) == 6000
    assert len(found.waits) == kinds[WRONG] + kinds[UNKNOWN] > 0
    assert min(found.waits) > PRICES[store].look_up / 1e3
    assert found.rows > len(found.books.rows) > 0
    assert (found.alone == found.commits) == (store == "sqlite")


def test_a_store_that_is_too_slow_is_told():
    slow = PRICES["sqlite"].__class__(**{**vars(PRICES["sqlite"]), "commit": Cost(wall=200.0)})
    found = play(SMALL, list(draw(SMALL)), slow)
    assert found.busy > 0.9
    assert found.wait(0.5) == "falls behind"


def test_silent_cases_have_a_timer_for_each_step_and_answered_ones_no_later():
    found = cases(300, 3600.0, seed=3)
    assert sum(found.starts.values()) == 300 == found.silent + sum(found.answers.values())
    assert 4 * found.silent <= sum(found.timers.values()) < 4 * 300
    day = 1440
    assert {minute // day for minute in found.timers} == {1, 3, 7, 14}


@pytest.mark.parametrize(
    ("report", "bytes_a_key", "micros"),
    [
        ({}, simulation.BYTES_A_KEY, simulation.REQUEST_MICROS),
        ({"accepted": {}, "cores": 2}, simulation.BYTES_A_KEY, simulation.REQUEST_MICROS),
        ({"benches": {"keys": {"memory": {"1000": {"bytes_a_key": 9}, "100000": {"bytes_a_key": 250}}}}}, 250, 2.5),
        ({"benches": {"in_process": {"arms": {recording("postgresql"): {"added_cpu_us": {"median": 4}}}}}}, 300, 4),
    ],
    ids=["none", "an old one", "memory", "requests"],
)
def test_figures_are_taken_where_a_report_has_them(report, bytes_a_key, micros):
    found = Figures.read(report)
    assert (found.bytes_a_key, found.request_micros) == (bytes_a_key, micros)


def test_tables_stand_between_their_marks_and_are_written_anew():
    page = f"# Page\n{BEGIN}\nold\n{END}\nprose\n"
    once = written(page, [Table("Title", ("a",), [("1",)])])
    assert written(once, [Table("Title", ("a",), [("1",)])]) == once
    assert once.startswith("# Page\n")
    assert once.endswith(f"{END}\nprose\n")
    assert "### Title" in once
    assert "old" not in once
    with pytest.raises(ValueError, match="lacks"):
        written("no marks", [])


def test_the_command_writes_its_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    small = ("--requests", "50", "--customers", "200", "--processes", "2", "--cases", "20")
    assert main([*small, "--figures", str(tmp_path / "none.json"), "--write", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "50 requests/s of 200 customers, 2 processes" in text
    assert "20 incidents in Temporal" in text
    assert capsys.readouterr().out.strip() in text
