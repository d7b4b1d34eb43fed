"""T7 over a socket, on a small scale: refusals of all arms are the same bytes, and no arm's time stands out grossly.

What a few microseconds would tell takes thousands of samples and a quiet machine: `python -m proofs.security.timing`.
"""

import statistics
from random import Random

import pytest

from proofs.security.arms import ARMS, CONTROL, UNKNOWN, WRONG
from proofs.security.figures import INSIDE, NO_DIFFERENCE, OUTSIDE, Figures, compare, gross_leaks, interval, verdict
from proofs.security.timing import TARGETS, Target, measure, serving

pytestmark = pytest.mark.timeout(400)
ROUNDS = 150
TRIES = 3  # a slow moment of the machine does not come thrice
LEAK = 1.0  # times the median, planted


@pytest.fixture(params=TARGETS, ids=lambda target: target.server)
def served(request, tmp_path):
    with serving(request.param, tmp_path) as found:
        yield found


def test_refusals_are_the_same_bytes_and_no_arm_stands_out(served):
    prepared, line = served
    for number in range(TRIES):
        rng = Random(number)
        measured = measure(prepared, line, ROUNDS, rng)
        assert [len(measured.times[arm]) for arm in ARMS] == [ROUNDS] * len(ARMS)
        [bytes_of_all] = set.union(*measured.answers.values())
        assert bytes_of_all.startswith(b"HTTP/1.1 401 ")
        found = compare(measured.times, rng)
        assert [found[arm].samples for arm in ARMS] == [ROUNDS] * len(ARMS)
        leaks = gross_leaks(found)
        if not leaks:
            break
    assert leaks == {}
    assert prepared.world.recorded()["unknown_key"] >= ROUNDS


def test_a_planted_leak_is_found(tmp_path, monkeypatch):
    (tmp_path / "sound").mkdir()
    with serving(TARGETS[0], tmp_path / "sound") as (prepared, line):
        usual = statistics.median(measure(prepared, line, 40, Random(0)).times[WRONG])
    (tmp_path / "leaky").mkdir()
    leak = {"LEAK": str(usual * LEAK / 1e6)}
    with serving(Target("uvicorn-h11", "proofs.security.leaky_app:app"), tmp_path / "leaky", leak) as (prepared, line):
        assert any(list(leaks_of(prepared, line, number)) == [UNKNOWN] for number in range(TRIES))


def leaks_of(prepared, line, number):
    rng = Random(number)
    return gross_leaks(compare(measure(prepared, line, ROUNDS, rng).times, rng))


def even(count, centre, rng):
    return [centre + rng.gauss(0, 50) for _ in range(count)]


@pytest.mark.parametrize(
    ("shift", "word", "gross"),
    [(0, NO_DIFFERENCE, False), (25, OUTSIDE, False), (500, OUTSIDE, True)],
    ids=["none", "small", "gross"],
)
def test_figures_tell_a_shift_from_noise(shift, word, gross):
    rng = Random(1)
    times = {arm: even(700, 1000, rng) for arm in ARMS} | {UNKNOWN: even(700, 1000 + shift, rng)}
    found = compare(times, rng)
    assert verdict(found[UNKNOWN], found[CONTROL]) == word
    assert (UNKNOWN in gross_leaks(found)) is gross
    assert found[WRONG].median == statistics.median(times[WRONG])
    assert found[WRONG].p10 < found[WRONG].median < found[WRONG].p90
    assert abs(found[UNKNOWN].difference - shift) < 10


def test_a_slow_round_takes_no_side():
    rng = Random(3)
    weather = [rng.expovariate(1 / 5000) for _ in range(700)]
    shifts = {UNKNOWN: 25}
    times = {
        arm: [slow + noise for slow, noise in zip(weather, even(700, shifts.get(arm, 0), rng), strict=True)]
        for arm in ARMS
    }
    found = compare(times, rng)
    assert verdict(found[UNKNOWN], found[CONTROL]) == OUTSIDE
    assert found[CONTROL].reach < 20


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    rng = Random(2)
    intervals = [interval(even(60, 0, rng), rng) for _ in range(60)]
    assert sum(low <= 0 <= high for low, high in intervals) >= 56


@pytest.mark.parametrize(
    ("difference", "low", "high", "word"),
    [(4.0, -1.0, 6.0, NO_DIFFERENCE), (4.0, 2.0, 6.0, INSIDE), (-4.0, -6.0, -2.0, INSIDE), (6.0, 5.5, 6.5, OUTSIDE)],
)
def test_a_difference_is_judged_by_what_the_control_reaches(difference, low, high, word):
    control = Figures(10, 1, 1, 1, 1, 0.0, -5.0, 3.0)
    assert verdict(Figures(10, 1, 1, 1, 1, difference, low, high), control) == word
