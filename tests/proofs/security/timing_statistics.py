"""Times of several arms -> statistics, and whether they show a difference between the arms.

In each round every arm is asked once, in random order. A difference is taken within a round, so a slow minute of the
machine changes no result.

- median, p10, p90, trimmed mean (the middle 80 %): of the arm's own times.
- difference: the median over rounds of (arm - wrong), with a 99 % confidence interval by the bootstrap: the rounds are
  drawn with replacement some thousand times, and the interval holds the middle 99 % of the medians.
- The control is a second "wrong" arm: what its interval shows is noise.

An arm shows no difference if its interval holds zero. Else it is inside if the difference is not larger than what the
control's own interval reaches from zero, and outside if it is. At 99 % one of five arms is called different by chance
in about 5 % of runs; the same arm twice in a row is no chance.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

WRONG, CONTROL, UNKNOWN = "wrong", "wrong again (A/A)", "unknown"
RETIRED, RETIRED_WRONG, EMPTY = "retired", "retired, wrong", "empty secret"
ARMS = (WRONG, CONTROL, UNKNOWN, RETIRED, RETIRED_WRONG, EMPTY)
"""Refused requests that differ in what they are refused for."""

NO_DIFFERENCE, INSIDE, OUTSIDE = "no difference", "inside", "OUTSIDE"
_RESAMPLES = 2000
_CONFIDENCE = 0.99
_TRIM = 0.1  # of the samples at each end
_GROSS = 0.35  # of the median: more than the noise of a working machine makes of two equal arms


@dataclass(frozen=True)
class ArmStatistics:
    """One arm, in microseconds."""

    samples: int
    median: float
    p10: float
    p90: float
    trimmed_mean: float
    difference: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """How far the interval goes from zero."""
        return max(abs(self.low), abs(self.high))


def analyze(times: Mapping[str, Sequence[float]], rng: Random) -> dict[str, ArmStatistics]:
    """Return each arm's statistics; the lists hold one time a round, in the order of the rounds."""
    return {arm: _analyze_arm(some, times[WRONG], rng) for arm, some in times.items()}


def _analyze_arm(times: Sequence[float], wrong: Sequence[float], rng: Random) -> ArmStatistics:
    tenths = statistics.quantiles(times, n=10)
    cut = int(len(times) * _TRIM)
    differences = [one - other for one, other in zip(times, wrong, strict=True)]
    low, high = interval(differences, rng)
    return ArmStatistics(
        samples=len(times),
        median=statistics.median(times),
        p10=tenths[0],
        p90=tenths[-1],
        trimmed_mean=statistics.fmean(sorted(times)[cut : len(times) - cut]),
        difference=statistics.median(differences),
        low=low,
        high=high,
    )


def interval(differences: Sequence[float], rng: Random) -> tuple[float, float]:
    """Return the bootstrap's confidence interval of the median."""
    size = len(differences)
    medians = sorted(statistics.median(rng.choices(differences, k=size)) for _ in range(_RESAMPLES))
    tail = int(_RESAMPLES * (1 - _CONFIDENCE) / 2)
    return medians[tail], medians[-1 - tail]


def compare_with_control(arm: ArmStatistics, control: ArmStatistics) -> str:
    """Return whether an arm differs from "wrong", and whether by more than "wrong" itself does."""
    if arm.low <= 0 <= arm.high:
        return NO_DIFFERENCE
    return INSIDE if abs(arm.difference) <= control.reach else OUTSIDE


def gross_differences(found: Mapping[str, ArmStatistics]) -> dict[str, float]:
    """Return the arms with a difference that is plain without statistics, by a bound that a slow day does not cross."""
    bound = max(4 * found[CONTROL].reach, _GROSS * found[WRONG].median)
    return {arm: each.difference for arm, each in found.items() if abs(each.difference) > bound}
