"""PURE. Rounds and their figures: medians with their spread, and ratios within a round.

Each round runs every arm once, in random order, and an arm is compared with the base of the same round. So a slow
minute of the machine favours none.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

Figures = Mapping[str, float]
Series = dict[str, list[float]]
"""One arm's figures by name, each a list in the order of the rounds."""


def play(
    arms: Sequence[str], rounds: int, rng: Random, measure: Callable[[str], Figures], *, warm_up: int = 1
) -> dict[str, Series]:
    """Measure every arm in every round and return the arms' series, without the first `warm_up` rounds."""
    series: dict[str, Series] = {arm: {} for arm in arms}
    for number in range(-warm_up, rounds):
        for arm in rng.sample(arms, len(arms)):
            for name, value in measure(arm).items():
                if number >= 0:
                    series[arm].setdefault(name, []).append(value)
    return series


@dataclass(frozen=True)
class Spread:
    """The median of rounds, the quartiles around it, and the extremes."""

    median: float
    low: float
    high: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raise ValueError without values: a bench without rounds has measured nothing."""
        if not values:
            raise ValueError("no rounds, no figures")
        several = values if len(values) > 1 else [*values, *values]
        low, median, high = statistics.quantiles(several, n=4, method="inclusive")
        return cls(median, low, high, min(values), max(values), len(values))


def spreads(series: Series) -> dict[str, Spread]:
    """Return the spread of each of an arm's figures."""
    return {name: Spread.of(values) for name, values in series.items()}


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % confidence interval, by ranks: nothing is assumed of the distribution."""
    ordered = sorted(values)
    middle, reach = (len(ordered) - 1) / 2, 0.98 * math.sqrt(len(ordered))
    low, high = max(0, math.floor(middle - reach)), min(len(ordered) - 1, math.ceil(middle + reach))
    return (ordered[math.floor(middle)] + ordered[math.ceil(middle)]) / 2, ordered[low], ordered[high]


def ratios(some: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return some/base of each round. Raises ValueError when the numbers of rounds differ."""
    return [one / other for one, other in zip(some, base, strict=True)]


def differences(some: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return some - base of each round. Raises ValueError when the numbers of rounds differ."""
    return [one - other for one, other in zip(some, base, strict=True)]
