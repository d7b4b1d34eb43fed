"""Rounds: every arm once a round, each round in another random order, after rounds that only warm up.

Here: the order. Not here: what an arm does, what is made of its figures (`spread`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

Figures = Mapping[str, float]
Series = dict[str, list[float]]
"""One arm's figures by name, each a list in the order of the rounds."""


def turns(arms: Sequence[str], rounds: int, rng: Random, *, warm_up: int = 1) -> Iterator[tuple[int, str]]:
    """Yield the number of a round and an arm; rounds before number 0 only warm up."""
    for number in range(-warm_up, rounds):
        for arm in rng.sample(arms, len(arms)):
            yield number, arm


def play(  # what is played, how often, in which order, how, and who looks on
    arms: Sequence[str],
    rounds: int,
    rng: Random,
    measure: Callable[[str], Figures],
    *,
    warm_up: int = 1,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Series]:
    """Measure every arm in every round and return the arms' series, without the rounds that warmed up."""
    series: dict[str, Series] = {arm: {} for arm in arms}
    for number, arm in turns(arms, rounds, rng, warm_up=warm_up):
        figures = measure(arm)
        step()
        if number >= 0:
            for name, value in figures.items():
                series[arm].setdefault(name, []).append(value)
    return series


def length(arms: Sequence[str], rounds: int, *, warm_up: int = 1) -> int:
    """Return how many turns `play` takes."""
    return len(arms) * (rounds + warm_up)
