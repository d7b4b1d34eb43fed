"""Streaks: what counts, what ends them, when a rule matches, and that folding equals one by one."""

import csv
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import EXAMPLES

from octy_middleware.http.event import Description
from octy_middleware.recording.streak import (
    ALL_NETWORKS,
    NO_STREAK,
    AttemptResult,
    Rule,
    RuleMatch,
    Streak,
    fold,
    next_notify_at,
)

A, B = "198.51.100.0/24", "203.0.113.0/24"
DATA = EXAMPLES / "data" / "login-attempts.csv"


def numbered(number: int) -> Description:
    return Description(request_id=str(number))


def bad(network: str, at: float = 0.0, request_id: str = "") -> AttemptResult:
    return AttemptResult(success=False, network=network, at=at, description=Description(request_id=request_id))


def good(network: str) -> AttemptResult:
    return AttemptResult(success=True, network=network, at=0.0)


def lengths(results: list[AttemptResult]) -> dict[str, int]:
    return {network: streak.length for network, streak in fold({}, results, 20).streaks.items() if streak.length}


@pytest.mark.parametrize(
    ("name", "results", "expected"),
    [
        ("nothing", [], {}),
        ("one failure counts for key and source", [bad(A)], {ALL_NETWORKS: 1, A: 1}),
        ("two sources share the key's streak", [bad(A), bad(B)], {ALL_NETWORKS: 2, A: 1, B: 1}),
        ("a success ends the key's streak and its own source's", [bad(A), bad(A), good(A)], {}),
        ("a success leaves other sources' streaks", [bad(A), bad(A), good(B)], {A: 2}),
        ("counting starts again after a success", [bad(A), good(B), bad(A)], {ALL_NETWORKS: 1, A: 2}),
        ("successes alone are no streak", [good(A), good(B)], {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_streak_follows_its_transition_table(name: str, results: list[AttemptResult], expected: dict[str, int]) -> None:
    assert lengths(results) == expected, name


def test_twentieth_failure_matches_the_key_rule_and_names_its_request() -> None:
    results = [bad(A, at=float(n), request_id=str(n)) for n in range(1, 26)]
    assert fold({}, results[:19], 20).rule_match is None
    assert fold({}, results, 20).rule_match == RuleMatch(Rule.KEY, ALL_NETWORKS, 20, 1.0, 20.0, "20")


def test_source_rule_matches_under_live_traffic() -> None:
    results = [result for n in range(20) for result in (good(B), bad(A, request_id=str(n)))]
    rule_match = fold({}, results, 20).rule_match
    assert rule_match is not None
    assert (rule_match.rule, rule_match.network, rule_match.length, rule_match.request_id) == (Rule.SOURCE, A, 20, "19")


def test_rule_match_before_a_success_in_one_batch_is_found() -> None:
    results = [bad(A, request_id=str(n)) for n in range(1, 21)] + [good(A)]
    folded = fold({}, results, 20)
    assert folded.rule_match is not None
    assert folded.rule_match.request_id == "20"
    assert all(streak == NO_STREAK for streak in folded.streaks.values())


def test_streak_times_never_decrease_when_the_clock_is_set_back() -> None:
    streak = fold({}, [bad(A, at=100.0), bad(A, at=40.0)], 20).streaks[ALL_NETWORKS]
    assert streak == Streak(2, 100.0, 100.0)


DESCRIPTIONS = st.builds(Description, request_id=st.text("ab", max_size=2))
RESULTS = st.lists(
    st.builds(AttemptResult, st.booleans(), st.sampled_from([A, B]), st.floats(0, 1e9), DESCRIPTIONS), max_size=60
)


@given(RESULTS, st.lists(st.integers(1, 8), max_size=60), st.integers(2, 6))
def test_folding_a_batch_equals_one_by_one(results: list[AttemptResult], cuts: list[int], threshold: int) -> None:
    """However the same results are cut into batches, streaks and the first rule match are those of one by one."""
    one_by_one, batched = fold({}, [], threshold), fold({}, [], threshold)
    first_single = first_batched = None
    for result in results:
        one_by_one = fold(one_by_one.streaks, [result], threshold)
        first_single = first_single or one_by_one.rule_match
    rest, sizes = list(results), iter(cuts)
    while rest:
        size = next(sizes, 7)
        batched = fold(batched.streaks, rest[:size], threshold)
        first_batched = first_batched or batched.rule_match
        rest = rest[size:]
    assert dict(batched.streaks) == dict(one_by_one.streaks)
    assert first_batched == first_single


@given(RESULTS)
def test_no_streak_is_longer_than_the_failures(results: list[AttemptResult]) -> None:
    streaks = fold({}, results, 20).streaks
    failures = sum(not result.success for result in results)
    assert all(0 <= streak.length <= failures and streak.first_at <= streak.last_at for streak in streaks.values())


@pytest.mark.parametrize(("length", "expected"), [(20, 40), (39, 40), (40, 80), (41, 80), (80, 160), (1000, 1280)])
def test_next_notify_at_doubles(length: int, expected: int) -> None:
    assert next_notify_at(length, 20) == expected


def test_real_login_log_matches_where_the_policy_says() -> None:
    rows = list(csv.DictReader(DATA.read_text(encoding="utf-8").splitlines()))
    results: defaultdict[str, list[AttemptResult]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        network = row["source"].rsplit(".", 1)[0] + ".0/24"
        results[row["user"]].append(
            AttemptResult(row["outcome"] == "accepted", network, float(number), numbered(number))
        )
    rule_matches = {user: fold({}, some, 20).rule_match for user, some in results.items()}
    found = {user: (int(m.request_id), m.length, str(m.rule)) for user, m in rule_matches.items() if m}
    assert found == {
        "root": (145, 20, "key"),
        "elastic_user_0": (201, 20, "key"),
        "admin": (536, 20, "key"),
        "pi": (738, 20, "key"),
        "(empty)": (774, 20, "key"),
        "ubnt": (1024, 20, "key"),
    }
