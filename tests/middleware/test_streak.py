"""Streaks: what counts up, what ends, where the threshold is crossed, and that folding equals one by one."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.recording.streak import NO_RUN, POLICY, Crossing, Hit, Rule, Run, fold, next_notice

A, B = "198.51.100.0/24", "203.0.113.0/24"
DATA = Path(__file__).parents[2] / "examples" / "data" / "login-attempts.csv"


def bad(network: str, at: float = 0.0, request_id: str = "") -> Hit:
    return Hit(success=False, network=network, at=at, request_id=request_id)


def good(network: str) -> Hit:
    return Hit(success=True, network=network, at=0.0)


def lengths(hits: list[Hit]) -> dict[str, int]:
    return {network: run.length for network, run in fold({}, hits, 20).runs.items() if run.length}


@pytest.mark.parametrize(
    ("name", "hits", "expected"),
    [
        ("nothing", [], {}),
        ("one failure counts for key and source", [bad(A)], {POLICY: 1, A: 1}),
        ("two sources share the key's streak", [bad(A), bad(B)], {POLICY: 2, A: 1, B: 1}),
        ("a success ends the key's streak and its own source's", [bad(A), bad(A), good(A)], {}),
        ("a success leaves other sources' streaks", [bad(A), bad(A), good(B)], {A: 2}),
        ("counting starts anew after a success", [bad(A), good(B), bad(A)], {POLICY: 1, A: 2}),
        ("successes alone are no streak", [good(A), good(B)], {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_transitions(name: str, hits: list[Hit], expected: dict[str, int]) -> None:
    assert lengths(hits) == expected, name


def test_the_twentieth_failure_crosses_and_its_request_is_named() -> None:
    hits = [bad(A, at=float(n), request_id=str(n)) for n in range(1, 26)]
    assert fold({}, hits[:19], 20).crossing is None
    assert fold({}, hits, 20).crossing == Crossing(Rule.KEY, POLICY, 20, 1.0, 20.0, "20")


def test_a_source_crosses_under_live_traffic() -> None:
    hits = [hit for n in range(20) for hit in (good(B), bad(A, request_id=str(n)))]
    crossing = fold({}, hits, 20).crossing
    assert crossing is not None
    assert (crossing.rule, crossing.network, crossing.length, crossing.request_id) == (Rule.SOURCE, A, 20, "19")


def test_a_crossing_before_a_success_in_one_batch_is_seen() -> None:
    hits = [bad(A, request_id=str(n)) for n in range(1, 21)] + [good(A)]
    folded = fold({}, hits, 20)
    assert folded.crossing is not None
    assert folded.crossing.request_id == "20"
    assert all(run == NO_RUN for run in folded.runs.values())


def test_times_never_run_backwards_when_the_clock_does() -> None:
    run = fold({}, [bad(A, at=100.0), bad(A, at=40.0)], 20).runs[POLICY]
    assert run == Run(2, 100.0, 100.0)


HITS = st.lists(
    st.builds(Hit, st.booleans(), st.sampled_from([A, B]), st.floats(0, 1e9), st.text("ab", max_size=2)), max_size=60
)


@given(HITS, st.lists(st.integers(1, 8), max_size=60), st.integers(2, 6))
def test_folding_a_batch_equals_one_by_one(hits: list[Hit], cuts: list[int], threshold: int) -> None:
    """However the same hits are cut into batches, streaks and the first crossing are those of one by one."""
    one_by_one, batched = fold({}, [], threshold), fold({}, [], threshold)
    first_single = first_batched = None
    for hit in hits:
        one_by_one = fold(one_by_one.runs, [hit], threshold)
        first_single = first_single or one_by_one.crossing
    rest, sizes = list(hits), iter(cuts)
    while rest:
        size = next(sizes, 7)
        batched = fold(batched.runs, rest[:size], threshold)
        first_batched = first_batched or batched.crossing
        rest = rest[size:]
    assert dict(batched.runs) == dict(one_by_one.runs)
    assert first_batched == first_single


@given(HITS)
def test_no_streak_is_longer_than_the_failures(hits: list[Hit]) -> None:
    runs = fold({}, hits, 20).runs
    failures = sum(not hit.success for hit in hits)
    assert all(0 <= run.length <= failures and run.first_at <= run.last_at for run in runs.values())


@pytest.mark.parametrize(("length", "expected"), [(20, 40), (39, 40), (40, 80), (41, 80), (80, 160), (1000, 1280)])
def test_the_case_is_told_at_doublings(length: int, expected: int) -> None:
    assert next_notice(length, 20) == expected


def test_the_real_log_crosses_where_the_policy_says() -> None:
    rows = list(csv.DictReader(DATA.read_text(encoding="utf-8").splitlines()))
    hits: defaultdict[str, list[Hit]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        network = row["source"].rsplit(".", 1)[0] + ".0/24"
        hits[row["user"]].append(Hit(row["outcome"] == "accepted", network, float(number), str(number)))
    crossings = {user: fold({}, some, 20).crossing for user, some in hits.items()}
    found = {user: (int(c.request_id), c.length, str(c.rule)) for user, c in crossings.items() if c}
    assert found == {
        "root": (145, 20, "key"),
        "elastic_user_0": (201, 20, "key"),
        "admin": (536, 20, "key"),
        "pi": (738, 20, "key"),
        "(empty)": (774, 20, "key"),
        "ubnt": (1024, 20, "key"),
    }
