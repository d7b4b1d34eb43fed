"""The window rule: failures within a window, even with successes in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.world import FakeRequest, Keys, World

from middleware.recording.events import NOW, event
from octy_middleware import Outcome
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.event import Description
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_middleware.recording.streak import AttemptResult, Rule
from octy_middleware.recording.window_rule import WindowRule, match_window


def attack(outcome_writer: OutcomeWriter, keys: Keys, failures: int, *, every: float, begin: float = NOW) -> None:
    """Fail so many times, each followed by a success: no streak ever grows."""
    for number in range(failures):
        at = begin + number * every
        outcome_writer.write([event(keys, number=number, at=at), event(keys, Outcome.ACCEPTED, at=at)])


def incidents(world: World) -> list[tuple]:
    return world.rows("SELECT rule, length, request_id FROM incident ORDER BY id")


def test_window_rule_is_off_by_default(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        for _ in range(30):
            for secret in ("wrong", None):
                authenticator.decide(FakeRequest(keys.basic(secret)))
    assert incidents(world) == []


def test_failure_that_fills_the_window_opens_one_incident(world: World) -> None:
    keys = world.register()
    attack(world.outcome_writer(NOW, window=WindowRule(10, 600)), keys, 30, every=20)
    assert incidents(world) == [("window", 10, "9")]


def test_window_setting_reaches_the_outcome_writer(world: World) -> None:
    keys = world.register()
    with world.authenticator(window_failures=5, window=60) as authenticator:
        for _ in range(5):
            for secret in ("wrong", None):
                authenticator.decide(FakeRequest(keys.basic(secret)))
    assert [rule for rule, *_ in incidents(world)] == ["window"]


def test_failures_further_apart_than_the_window_do_not_match(world: World) -> None:
    keys = world.register()
    attack(world.outcome_writer(NOW, window=WindowRule(10, 600)), keys, 40, every=100)
    assert incidents(world) == []


def test_window_match_names_the_failure_that_filled_the_window(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW, window=WindowRule(10, 600))
    attack(outcome_writer, keys, 7, every=1)
    mixed = [(event(keys, number=100 + n, at=NOW + 9), event(keys, Outcome.ACCEPTED, at=NOW + 9)) for n in range(6)]
    outcome_writer.write([each for both in mixed for each in both])
    assert incidents(world) == [("window", 10, "102")]


def test_key_streak_names_the_rule_when_the_window_matches_too(world: World) -> None:
    keys = world.register()
    world.outcome_writer(NOW, window=WindowRule(20, 600)).write([event(keys, number=n) for n in range(20)])
    assert [rule for rule, *_ in incidents(world)] == ["key"]


def test_failures_before_a_closed_incident_are_not_counted_again(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW, window=WindowRule(10, 3600))
    attack(outcome_writer, keys, 15, every=1)
    with world.database.write() as connection:
        run(connection, "UPDATE incident SET state = 'closed', closed_at = ?", int((NOW + 30) * 1e6))
    attack(outcome_writer, keys, 9, every=1, begin=NOW + 120)
    assert len(incidents(world)) == 1
    attack(outcome_writer, keys, 1, every=1, begin=NOW + 130)
    assert len(incidents(world)) == 2


@pytest.mark.parametrize("state", ["retiring", "retired"])
def test_window_of_a_retiring_key_pair_opens_no_incident(world: World, state: str) -> None:
    keys = world.register()
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = ?", state)
    attack(world.outcome_writer(NOW, window=WindowRule(5, 600)), keys, 10, every=1)
    assert incidents(world) == []


@given(st.integers(1, 50), st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_batches_match_at_the_same_failure_as_single_events(failures: int, sizes: list[int]) -> None:
    window, before, found = WindowRule(failures, 600), 0, None
    for size in sizes:
        results = [AttemptResult(False, "n", NOW, Description(request_id=str(before + place))) for place in range(size)]
        found = found or match_window(results, before, NOW, window)
        before += size
    if before < failures:
        assert found is None
    else:
        assert found is not None
        assert (found.rule, found.length, found.request_id) == (Rule.WINDOW, failures, str(failures - 1))
