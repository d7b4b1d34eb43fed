"""The simulation compared with the real `OutcomeWriter`, with a real cache, and with its own formulas."""

import random
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from support.world import World

from octy_middleware import Outcome
from octy_middleware.http import event
from octy_middleware.recording import outcome_writer
from proofs.benchmarks import simulated_database, simulated_traffic, simulation
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.bulk import insert_keys, public_key
from proofs.benchmarks.presentation import Table
from proofs.benchmarks.simulated_database import COSTS, Cost, Locks, RecorderQueue, Tables, simulate
from proofs.benchmarks.simulated_traffic import (
    ACCEPTED,
    BATCH_DELAY,
    FIRST_ATTACKER,
    SOURCE_MASK,
    UNKNOWN,
    WRONG,
    Load,
    Request,
    cache_miss_share,
    customer_groups,
    distinct_sources,
    generate,
)
from proofs.benchmarks.simulation import BEGIN, END, Figures, insert_tables, main, open_incidents

SMALL = Load(requests=100, customers=300, processes=3, seconds=60)


def test_simulated_tables_have_the_rows_of_the_real_writer(world: World, monkeypatch):
    monkeypatch.setattr(
        simulated_traffic, "SHARES", {"mistakes": 0.1, "stuffing": 0.3, "hot key": 0.2, "unknown keys": 0.1}
    )
    monkeypatch.setattr(simulated_traffic, "STUFFED_KEYS", 5)
    monkeypatch.setattr(simulated_traffic, "MAX_SOURCES", 40)
    monkeypatch.setattr(simulated_database, "MAX_ATTEMPTS", 30)
    insert_keys(world, 60)
    real = outcome_writer.OutcomeWriter(
        world.database,
        threshold=20,
        attempts_per_minute=30,
        sources_per_minute=40,
        max_networks=10_000,
        clock=lambda: 1e9,
    )
    simulated, rows = Tables(), 0
    stream = generate(Load(requests=15, customers=60, seconds=120))
    while batch := list(islice(stream, 20)):
        rows += simulated.write(batch)[1]
        real.write([as_event(request) for request in batch])
    [(found, total)] = world.rows("SELECT COUNT(*), SUM(count) FROM outcome_minute")
    assert total == 1800 > rows > found > 0
    assert len(simulated.rows) == pytest.approx(found, abs=3)  # which of a batch's new sources have room, differs
    assert world.rows("SELECT COUNT(*) FROM attempt") == [(simulated.attempt_rows,)]
    assert world.rows("SELECT COUNT(*) FROM incident") == [(len(simulated.incidents),)]
    assert world.rows("SELECT COUNT(*) FROM outbox") == [(simulated.messages,)]
    assert simulated.messages > len(simulated.incidents) > 0


def as_event(request):
    source = f"10.{(request.counter & SOURCE_MASK) >> 8}.{request.counter & 255}.1"
    key = "" if request.outcome == UNKNOWN else public_key(request.key)
    outcome = {ACCEPTED: Outcome.ACCEPTED, WRONG: Outcome.WRONG_SECRET, UNKNOWN: Outcome.UNKNOWN_KEY}[request.outcome]
    return event.AuthEvent(outcome, 6e8 + request.at, source, event.network_of(source), key)


def test_distinct_sources_is_the_number_of_rows_a_minute():
    load = Load(requests=400, customers=5000)
    own = [request for request in generate(load) if request.counter & SOURCE_MASK < FIRST_ATTACKER]
    assert len({request.counter for request in own}) == pytest.approx(
        distinct_sources(customer_groups(load), len(own)), rel=0.03
    )


def test_customer_groups_have_all_customers_and_all_requests():
    groups = customer_groups(Load(customers=12_345))
    assert sum(group.number for group in groups) == 12_345
    assert sum(group.number * group.share for group in groups) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("size", [20, 100, 250, 300])
def test_cache_miss_share_is_that_of_a_real_cache(size):
    rng, cache, misses = random.Random(7), {}, 0
    keys = rng.choices(range(300), weights=[1 / (rank + 1) for rank in range(300)], k=40_000)
    for number, key in enumerate(keys):
        if key not in cache:
            misses += number >= 10_000
            cache[key] = None
            if len(cache) > size:
                del cache[next(iter(cache))]
    assert cache_miss_share(customer_groups(SMALL), size) == pytest.approx(misses / 30_000, abs=0.015)


@pytest.mark.parametrize(
    ("requests", "now", "expected"),
    [
        ([(1.0, ACCEPTED), (1.1, ACCEPTED)], 0.0, 1.0 + BATCH_DELAY),
        ([(1.0, ACCEPTED), (1.1, WRONG)], 0.0, 1.1),
        ([(1.0, ACCEPTED), (1.0 + 2 * BATCH_DELAY, WRONG)], 0.0, 1.0 + BATCH_DELAY),
        ([(1.0, UNKNOWN)], 0.0, 1.0),
        ([(1.0, ACCEPTED)], 1.05, 1.05),
        ([], 1.0, None),
    ],
    ids=["delay", "a client waits", "a client comes too late", "alone and waits", "queued meanwhile", "no request"],
)
def test_next_batch_begins_by_the_recorders_rule(requests, now, expected):
    recorder = RecorderQueue(BATCH_DELAY)
    recorder.requests = [Request(at, 1, 1, outcome) for at, outcome in requests]
    assert recorder.next_batch_at(now) == (expected if expected is None else pytest.approx(expected))


def test_batch_is_no_bigger_than_the_recorders():
    recorder = RecorderQueue(BATCH_DELAY)
    recorder.requests = [Request(0.0, 1, 1, ACCEPTED)] * 4500
    assert [len(recorder.take_batch(1.0)) for _ in range(4)] == [2000, 2000, 500, 0]


@pytest.mark.parametrize(
    ("second", "exclusive", "end"),
    [({2}, False, 1.5), ({1}, False, 2.0), ({2}, True, 2.0)],
    ids=["another key", "the same key", "exclusive"],
)
def test_locks_wait_for_the_same_keys_and_for_exclusive_commits(second, exclusive, end):
    locks = Locks()
    assert locks.hold(0.0, {1}, 1.0, exclusive=False) == 1.0
    assert locks.hold(0.5, second, 1.0, exclusive=exclusive) == end
    after = locks.hold(0.6, {3}, 1.0, exclusive=False)
    assert after == (end + 1.0 if exclusive else 1.6)


@pytest.mark.parametrize("database_kind", COSTS)
def test_every_request_is_recorded_once(database_kind):
    requests = list(generate(SMALL))
    found = simulate(SMALL, requests, COSTS[database_kind])
    kinds = Counter(request.outcome for request in requests)
    assert found.requests == len(requests) == 6000
    assert len(found.latencies) == kinds[WRONG] + kinds[UNKNOWN] > 0
    assert min(found.latencies) > COSTS[database_kind].load / 1e3
    assert found.rows > len(found.tables.rows) > 0
    assert (found.exclusive == found.commits) == (database_kind == "sqlite")


def test_slow_database_falls_behind():
    slow = replace(COSTS["sqlite"], commit=Cost(wall=200.0))
    found = simulate(SMALL, generate(SMALL), slow)
    assert found.exclusive_share > 0.9
    assert found.latency(0.5) == "falls behind"


def test_unanswered_incidents_have_a_timer_for_each_step_and_answered_ones_fewer():
    found = open_incidents(300, 3600.0, seed=3)
    assert sum(found.starts.values()) == 300 == found.unanswered + sum(found.answers.values())
    assert 4 * found.unanswered <= sum(found.timers.values()) < 4 * 300
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
def test_figures_come_from_the_report_where_it_has_them(report, bytes_a_key, micros):
    found = Figures.read(report)
    assert (found.bytes_a_key, found.request_micros) == (bytes_a_key, micros)


def test_insert_tables_replaces_the_text_between_the_marks():
    page = f"# Page\n{BEGIN}\nold\n{END}\nprose\n"
    once = insert_tables(page, [Table("Title", ("a",), [("1",)])])
    assert insert_tables(once, [Table("Title", ("a",), [("1",)])]) == once
    assert once.startswith("# Page\n")
    assert once.endswith(f"{END}\nprose\n")
    assert "### Title" in once
    assert "old" not in once
    with pytest.raises(ValueError, match="lacks"):
        insert_tables("no marks", [])


def test_command_writes_its_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    small = ("--requests", "50", "--customers", "200", "--processes", "2", "--incidents", "20")
    assert main([*small, "--figures", str(tmp_path / "none.json"), "--write", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "50 requests/s of 200 customers, 2 processes" in text
    assert "20 incidents in Temporal" in text
    assert capsys.readouterr().out.strip() in text
