"""The window rule: failures within a window, even with successes in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.world import FakeRequest, Keys, World

from octy_middleware import Outcome
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.event import AuthEvent, Description
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_middleware.recording.streak import AttemptResult, Rule
from octy_middleware.recording.window_rule import WindowRule, match_window

NOW = 1_800_000_000.0
LIMITS = {"threshold": 20, "attempts_per_minute": 60, "sources_per_minute": 256, "max_networks": 1000}


def make_outcome_writer(world: World, window: WindowRule) -> OutcomeWriter:
    return OutcomeWriter(world.database, clock=lambda: NOW, window=window, **LIMITS)


def event(keys: Keys, at: float, outcome: Outcome = Outcome.WRONG_SECRET, number: int = 0) -> AuthEvent:
    description = Description(request_id=str(number))
    return AuthEvent(outcome, at, "203.0.113.9", "203.0.113.0/24", keys.public_key, description=description)


def attack(outcome_writer: OutcomeWriter, keys: Keys, failures: int, *, every: float, begin: float = NOW) -> None:
    """Fail so many times, each followed by a success: no streak ever grows."""
    for number in range(failures):
        at = begin + number * every
        outcome_writer.write([event(keys, at, number=number), event(keys, at, Outcome.ACCEPTED)])


def cases(world: World) -> list[tuple]:
    return world.rows("SELECT rule, length, request_id FROM incident ORDER BY id")


def test_window_rule_is_off_by_default(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        for _ in range(30):
            for secret in ("wrong", None):
                authenticator.decide(FakeRequest(keys.basic(secret)))
    assert cases(world) == []


def test_failure_that_fills_the_window_opens_one_incident(world: World) -> None:
    keys = world.register()
    attack(make_outcome_writer(world, WindowRule(10, 600)), keys, 30, every=20)
    assert cases(world) == [("window", 10, "9")]


def test_window_setting_reaches_the_outcome_writer(world: World) -> None:
    keys = world.register()
    with world.authenticator(window_failures=5, window=60) as authenticator:
        for _ in range(5):
            for secret in ("wrong", None):
                authenticator.decide(FakeRequest(keys.basic(secret)))
    assert [rule for rule, *_ in cases(world)] == ["window"]


def test_failures_further_apart_than_the_window_do_not_match(world: World) -> None:
    keys = world.register()
    attack(make_outcome_writer(world, WindowRule(10, 600)), keys, 40, every=100)
    assert cases(world) == []


def test_window_match_names_the_failure_that_filled_the_window(world: World) -> None:
    keys, outcome_writer = world.register(), make_outcome_writer(world, WindowRule(10, 600))
    attack(outcome_writer, keys, 7, every=1)
    mixed = [(event(keys, NOW + 9, number=100 + n), event(keys, NOW + 9, Outcome.ACCEPTED)) for n in range(6)]
    outcome_writer.write([each for both in mixed for each in both])
    assert cases(world) == [("window", 10, "102")]


def test_key_streak_names_the_rule_when_the_window_matches_too(world: World) -> None:
    keys = world.register()
    make_outcome_writer(world, WindowRule(20, 600)).write([event(keys, NOW, number=n) for n in range(20)])
    assert [rule for rule, *_ in cases(world)] == ["key"]


def test_failures_before_a_closed_incident_are_not_counted_again(world: World) -> None:
    keys, outcome_writer = world.register(), make_outcome_writer(world, WindowRule(10, 3600))
    attack(outcome_writer, keys, 15, every=1)
    with world.database.write() as connection:
        run(connection, "UPDATE incident SET state = 'closed', closed_at = ?", int((NOW + 30) * 1e6))
    attack(outcome_writer, keys, 9, every=1, begin=NOW + 120)
    assert len(cases(world)) == 1
    attack(outcome_writer, keys, 1, every=1, begin=NOW + 130)
    assert len(cases(world)) == 2


@pytest.mark.parametrize("state", ["retiring", "retired"])
def test_window_of_a_retiring_key_pair_opens_no_incident(world: World, state: str) -> None:
    keys = world.register()
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = ?", state)
    attack(make_outcome_writer(world, WindowRule(5, 600)), keys, 10, every=1)
    assert cases(world) == []


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
