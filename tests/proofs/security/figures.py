"""Times of several arms -> figures, and whether they tell the arms apart.

In each round every arm is asked once, in random order, so the samples of a round stand under the same weather: an arm's
difference is taken within the round, and a slow minute of the machine takes no side.

- median, p10, p90, trimmed mean (the middle 80 %): of the arm's own times.
- difference: the median over rounds of (arm - wrong), with a 99 % confidence interval by the bootstrap: the rounds are
  drawn anew with replacement some thousand times, and the interval holds the middle 99 % of the medians.
- The control is a second "wrong" arm: what its interval shows is noise, for there is nothing else to show.

An arm shows no difference if its interval holds zero. It is inside the control if it shows one, but none larger than
what the control's own interval reaches from zero; beyond that it is outside. At 99 % one of five arms is called
different by chance in about 5 % of runs; the same arm twice in a row is no chance.

Here: arithmetic. Not here: measuring (`timing`).
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from proofs.security.arms import CONTROL, WRONG

NO_DIFFERENCE, INSIDE, OUTSIDE = "no difference", "inside", "OUTSIDE"
_RESAMPLES = 2000
_CONFIDENCE = 0.99
_TRIM = 0.1  # of the samples at each end
_GROSS = 0.35  # of the median: what no noise of a working machine makes of two equal arms


@dataclass(frozen=True)
class Figures:
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


def compare(times: Mapping[str, Sequence[float]], rng: Random) -> dict[str, Figures]:
    """Return each arm's figures; the lists hold one time a round, in the order of the rounds."""
    return {arm: _figures(some, times[WRONG], rng) for arm, some in times.items()}


def _figures(some: Sequence[float], wrong: Sequence[float], rng: Random) -> Figures:
    tenths = statistics.quantiles(some, n=10)
    cut = int(len(some) * _TRIM)
    differences = [one - other for one, other in zip(some, wrong, strict=True)]
    low, high = interval(differences, rng)
    return Figures(
        samples=len(some),
        median=statistics.median(some),
        p10=tenths[0],
        p90=tenths[-1],
        trimmed_mean=statistics.fmean(sorted(some)[cut : len(some) - cut]),
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


def verdict(arm: Figures, control: Figures) -> str:
    """Say whether an arm differs from "wrong", and whether by more than "wrong" itself does."""
    if arm.low <= 0 <= arm.high:
        return NO_DIFFERENCE
    return INSIDE if abs(arm.difference) <= control.reach else OUTSIDE


def gross_leaks(found: Mapping[str, Figures]) -> dict[str, float]:
    """Return the arms whose difference nobody needs statistics for, by a bound that a slow day does not cross."""
    bound = max(4 * found[CONTROL].reach, _GROSS * found[WRONG].median)
    return {arm: figures.difference for arm, figures in found.items() if abs(figures.difference) > bound}
