"""The outcome writer: exact counts, limits, streaks, and the incident at the threshold."""

import os

import pytest
from sqlmodel import select
from support.world import FakeRequest, World

from middleware.recording.events import NOW, UNKNOWN, event, pair_id_of
from octy_middleware import Outcome
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.models import Outbox
from octy_middleware.equal_work import DECOY_KEY
from octy_middleware.http.event import OVERFLOW, AuthEvent


def test_twentieth_failure_opens_one_incident_with_its_outbox_row(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write([event(keys, number=n) for n in range(1, 20)])
    assert world.rows("SELECT COUNT(*) FROM incident") == [(0,)]
    outcome_writer.write([event(keys, number=20)])
    [(incident, rule, length, request_id, state)] = world.rows(
        "SELECT id, rule, length, request_id, state FROM incident"
    )
    assert (rule, length, request_id, state) == ("key", 20, "20", "opening")
    assert world.rows("SELECT subject_id FROM outbox WHERE kind = 'incident_opened'") == [(incident,)]
    assert world.rows("SELECT incident_id, answer FROM incident_answer") == [(incident, None)]
    outcome_writer.write([event(keys, number=n) for n in range(21, 40)])
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]


def test_rule_match_and_success_in_one_batch_open_the_incident(world: World) -> None:
    keys = world.register()
    batch = [event(keys, number=n) for n in range(1, 26)] + [event(keys, Outcome.ACCEPTED)]
    world.outcome_writer(NOW).write(batch)
    assert world.rows("SELECT length, request_id FROM incident") == [(20, "20")]
    assert world.rows("SELECT network, length FROM streak") == []


def test_workflow_is_notified_at_doublings_only(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    for start in range(0, 100, 10):
        outcome_writer.write([event(keys, number=start + n) for n in range(10)])
    with world.database.read() as connection:
        told = select(Outbox.detail).where(Outbox.kind == "incident_grew").order_by(Outbox.id)
        assert list(connection.scalars(told)) == [{"failures": 40}, {"failures": 80}]


def test_uncounted_outcomes_change_no_streak(world: World) -> None:
    outcomes = [outcome for outcome in Outcome if not outcome.counts and outcome is not Outcome.ACCEPTED]
    customers = [world.register(outcome, address="security@acme.example") for outcome in outcomes]
    for keys, outcome in zip(customers, outcomes, strict=True):
        world.outcome_writer(NOW).write([event(keys, outcome, n) for n in range(30)])
    assert world.rows("SELECT public_key FROM streak WHERE public_key <> :decoy", decoy=DECOY_KEY) == []
    assert world.rows("SELECT public_key FROM incident") == []
    recorded = [world.recorded(keys.public_key) for keys in customers]
    assert recorded == [{str(outcome): 30} for outcome in outcomes]


def test_unknown_keys_open_no_incident_of_the_key_whose_incident_is_loaded(world: World) -> None:
    """Its case is read with theirs, for equal work (T7), and is its own."""
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write([event(keys)])
    for start in range(0, 100, 25):
        outcome_writer.write([event(UNKNOWN, Outcome.UNKNOWN_KEY, start + n) for n in range(25)])
    assert world.rows("SELECT COUNT(*) FROM incident") == [(0,)]
    outcome_writer.write([event(keys, number=n) for n in range(2, 21)])
    outcome_writer.write([event(UNKNOWN, Outcome.UNKNOWN_KEY, n) for n in range(200)])
    assert world.rows("SELECT public_key, length, failures FROM incident") == [(keys.public_key, 20, 20)]
    assert world.rows("SELECT COUNT(*) FROM outbox WHERE kind = 'incident_grew'") == [(0,)]


@pytest.mark.parametrize("state", ["retiring", "retired"])
def test_retiring_key_pair_opens_no_incident(world: World, state: str) -> None:
    keys = world.register()
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = ?", state)
    world.outcome_writer(NOW).write([event(keys, number=n) for n in range(25)])
    assert world.rows("SELECT COUNT(*) FROM incident") == [(0,)]


def test_failures_in_quiet_time_open_no_incident_and_later_ones_do(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET quiet_until = ?", int((NOW + 10) * 1e6))
    outcome_writer.write([event(keys, number=n) for n in range(30)])
    assert world.rows("SELECT COUNT(*) FROM incident") == [(0,)]
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET quiet_until = ?", int(NOW * 1e6))
    outcome_writer.write([event(keys, number=31)])
    assert world.rows("SELECT length FROM incident") == [(31,)]


def test_details_stop_at_sixty_a_minute_and_counts_continue(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    for _ in range(5):
        outcome_writer.write([event(keys, number=n) for n in range(50)])
    assert world.rows("SELECT COUNT(*) FROM attempt") == [(60,)]
    assert world.recorded(keys.public_key) == {"wrong_secret": 250}


def test_million_sources_make_a_bounded_number_of_rows(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW, sources_per_minute=8)
    for batch in range(4):
        outcome_writer.write([event(keys, source=f"203.0.{batch}.{n}") for n in range(50)])
    sources = [source for (source,) in world.rows("SELECT source FROM outcome_minute")]
    assert len(sources) == 9
    assert OVERFLOW in sources
    assert world.recorded(keys.public_key) == {"wrong_secret": 200}


def test_unknown_keys_share_one_row_a_source_and_keep_no_typed_text(world: World) -> None:
    batch = [AuthEvent(Outcome.UNKNOWN_KEY, NOW, "203.0.113.9", "n", key_hash=f"{n:024x}") for n in range(500)]
    world.outcome_writer(NOW).write(batch)
    assert world.rows("SELECT public_key, count FROM outcome_minute") == [("", 500)]
    assert world.rows("SELECT COUNT(*), COUNT(DISTINCT key_hash) FROM attempt") == [(60, 60)]


def test_first_and_last_use_are_recorded(world: World) -> None:
    keys = world.register()
    used = AuthEvent(Outcome.ACCEPTED, NOW, "s", "n", keys.public_key, pair_id_of(world, keys))
    world.outcome_writer(NOW).write([used])
    assert world.rows("SELECT first_used_at, last_used_at FROM key_pair") == [(int(NOW * 1e6),) * 2]


def test_last_uses_that_are_forgotten_are_written_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for them is limited, so a use within the same minute may be written once more."""
    monkeypatch.setattr("octy_middleware.recording.outcome_writer.MAX_USAGES", 1)
    some = [world.register(f"a{number}") for number in range(3)]
    writer = world.outcome_writer(NOW)
    for second, keys in enumerate((*some, some[0])):
        pair_id = pair_id_of(world, keys)
        writer.write([AuthEvent(Outcome.ACCEPTED, NOW + second, "s", "n", keys.public_key, pair_id)])
    query = "SELECT first_used_at, last_used_at FROM key_pair WHERE public_key = :key"
    assert world.rows(query, key=some[0].public_key) == [(int(NOW * 1e6), int((NOW + 3) * 1e6))]


def test_networks_beyond_the_limit_share_one_streak_that_can_match_a_rule(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW, max_networks=5)
    outcome_writer.write([event(keys, number=n, source=f"10.0.{n}.1") for n in range(19)])
    outcome_writer.write([event(keys, Outcome.ACCEPTED, source="192.0.2.1")])
    lengths = dict(world.rows("SELECT network, length FROM streak"))
    assert len(lengths) <= 7
    assert lengths[OVERFLOW] >= 13
    outcome_writer.write([event(keys, number=n, source=f"10.1.{n}.1") for n in range(10)])
    assert world.rows("SELECT rule, network FROM incident") == [("source", OVERFLOW)]


def test_malformed_requests_do_not_use_up_the_details_of_others(world: World) -> None:
    outcome_writer = world.outcome_writer(NOW)
    outcome_writer.write([AuthEvent(Outcome.MISSING, NOW, "203.0.113.9", "n") for _ in range(500)])
    outcome_writer.write([AuthEvent(Outcome.UNKNOWN_KEY, NOW, "203.0.113.9", "n", key_hash="a" * 24)])
    assert world.rows("SELECT outcome, COUNT(*) FROM attempt GROUP BY outcome ORDER BY 1") == [
        ("missing", 60),
        ("unknown_key", 1),
    ]


def test_equal_refusals_are_each_counted(world: World) -> None:
    keys = world.register()
    same = event(keys)
    world.outcome_writer(NOW).write([same] * 20)
    assert world.recorded(keys.public_key) == {"wrong_secret": 20}
    assert world.rows("SELECT length FROM streak WHERE network = ''") == [(20,)]
    assert world.rows("SELECT COUNT(*) FROM attempt") == [(20,)]


def test_each_app_process_writes_its_heartbeat(world: World) -> None:
    keys = world.register()
    with world.authenticator() as first, world.authenticator() as second:
        for authenticator in (first, second, first):
            authenticator.decide(FakeRequest(keys.basic("sk_wrong")))
    found = world.rows("SELECT pid, queued, lost, failures, last_error FROM app_process")
    assert found == [(os.getpid(), 0, 0, 0, "")] * 2


def test_sources_are_limited_per_key_in_one_batch(world: World) -> None:
    some = [world.register(f"a{number}") for number in range(3)]
    outcome_writer = world.outcome_writer(NOW, sources_per_minute=2)
    outcome_writer.write([event(keys, source=f"10.0.{n}.1") for keys in some for n in range(2)])
    outcome_writer.write([event(keys, source=f"10.9.{n}.1") for keys in some[:2] for n in range(3)])
    outcome_writer.write([event(some[2], source="10.0.1.1")])
    counts = {
        (key, source): count
        for key, source, count in world.rows("SELECT public_key, source, count FROM outcome_minute")
    }
    for keys in some:
        sources = {source: count for (key, source), count in counts.items() if key == keys.public_key}
        assert sources == (
            {"10.0.0.1": 1, "10.0.1.1": 2} if keys is some[2] else {"10.0.0.1": 1, "10.0.1.1": 1, OVERFLOW: 3}
        )
