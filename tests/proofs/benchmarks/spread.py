"""PURE. Figures of rounds: medians with their spread, and ratios within a round.

In each round every arm runs once under the same weather, so an arm is compared with the base of its own round; a slow
minute of the machine takes no side. Here: arithmetic. Not here: the rounds themselves (`rounds`).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """What rounds gave: the median, the quartiles around it, and the extremes."""

    median: float
    low: float
    high: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raise ValueError of none: a bench without rounds has measured nothing."""
        if not values:
            raise ValueError("no rounds, no figures")
        low, median, high = _quartiles(values)
        return cls(median, low, high, min(values), max(values), len(values))

    @classmethod
    def read(cls, figures: dict[str, Any]) -> "Spread":
        """Read what stands in a report."""
        return cls(**figures)


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def ratios(some: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return some/base of each round. Raises ValueError when the rounds are not the same ones."""
    return [one / other for one, other in zip(some, base, strict=True)]


def differences(some: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return some - base of each round. Raises ValueError when the rounds are not the same ones."""
    return [one - other for one, other in zip(some, base, strict=True)]
