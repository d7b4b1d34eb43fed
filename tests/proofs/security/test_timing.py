"""T7 over a socket, on a small scale: refusals of all arms are the same bytes, and no arm's time stands out grossly.

What a few microseconds would show takes thousands of samples and a quiet machine: `python -m proofs.security.timing`.
"""

import statistics
from random import Random

import pytest

from proofs.security.timing import TARGETS, Target, serve
from proofs.security.timing_statistics import (
    ARMS,
    CONTROL,
    INSIDE,
    NO_DIFFERENCE,
    OUTSIDE,
    UNKNOWN,
    WRONG,
    ArmStatistics,
    analyze,
    compare_with_control,
    gross_differences,
    interval,
)

pytestmark = pytest.mark.timeout(400)
ROUNDS = 150
TRIES = 3  # a slow moment of the machine does not come thrice
LEAK = 1.0  # times the median, planted


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.server)
def test_refusals_are_the_same_bytes_and_no_arm_stands_out(target, tmp_path):
    with serve(target, tmp_path) as served:
        for number in range(TRIES):
            rng = Random(number)
            measured = served.measure(ROUNDS, rng)
            [response] = measured.responses
            assert response.startswith(b"HTTP/1.1 401 ")
            found = analyze(measured.times, rng)
            assert [found[arm].samples for arm in ARMS] == [ROUNDS] * len(ARMS)
            differences = gross_differences(found)
            if not differences:
                break
        assert differences == {}
        assert served.world.recorded()["unknown_key"] >= ROUNDS


def test_planted_leak_is_found(tmp_path):
    (tmp_path / "sound").mkdir()
    with serve(TARGETS[0], tmp_path / "sound") as served:
        usual = statistics.median(served.measure(40, Random(0)).times[WRONG])
    (tmp_path / "leaky").mkdir()
    leak = {"LEAK": str(usual * LEAK / 1e6)}
    with serve(Target("uvicorn-h11", "proofs.security.leaky_app:app"), tmp_path / "leaky", leak) as served:
        assert any(differences_of(served, number) == [UNKNOWN] for number in range(TRIES))


def differences_of(served, number):
    rng = Random(number)
    return list(gross_differences(analyze(served.measure(ROUNDS, rng).times, rng)))


def around(centre, rng, count=700):
    return [centre + rng.gauss(0, 50) for _ in range(count)]


@pytest.mark.parametrize(
    ("shift", "word", "gross"),
    [(0, NO_DIFFERENCE, False), (25, OUTSIDE, False), (500, OUTSIDE, True)],
    ids=["none", "small", "gross"],
)
def test_statistics_tell_a_shift_from_noise(shift, word, gross):
    rng = Random(1)
    times = {arm: around(1000, rng) for arm in ARMS} | {UNKNOWN: around(1000 + shift, rng)}
    found = analyze(times, rng)
    assert compare_with_control(found[UNKNOWN], found[CONTROL]) == word
    assert (UNKNOWN in gross_differences(found)) is gross
    assert found[WRONG].median == statistics.median(times[WRONG])
    assert found[WRONG].p10 < found[WRONG].median < found[WRONG].p90
    assert abs(found[UNKNOWN].difference - shift) < 10


def test_slow_rounds_do_not_hide_a_shift():
    rng = Random(3)
    delays = [rng.expovariate(1 / 5000) for _ in range(700)]
    shifts = {UNKNOWN: 25}
    times = {
        arm: [delay + noise for delay, noise in zip(delays, around(shifts.get(arm, 0), rng), strict=True)]
        for arm in ARMS
    }
    found = analyze(times, rng)
    assert compare_with_control(found[UNKNOWN], found[CONTROL]) == OUTSIDE
    assert found[CONTROL].reach < 20


def test_interval_holds_the_true_median_as_often_as_it_says():
    rng = Random(2)
    intervals = [interval(around(0, rng, 60), rng) for _ in range(60)]
    assert sum(low <= 0 <= high for low, high in intervals) >= 56


@pytest.mark.parametrize(
    ("difference", "low", "high", "word"),
    [(4.0, -1.0, 6.0, NO_DIFFERENCE), (4.0, 2.0, 6.0, INSIDE), (-4.0, -6.0, -2.0, INSIDE), (6.0, 5.5, 6.5, OUTSIDE)],
)
def test_difference_is_compared_with_the_reach_of_the_control(difference, low, high, word):
    control = ArmStatistics(10, 1, 1, 1, 1, 0.0, -5.0, 3.0)
    assert compare_with_control(ArmStatistics(10, 1, 1, 1, 1, difference, low, high), control) == word
