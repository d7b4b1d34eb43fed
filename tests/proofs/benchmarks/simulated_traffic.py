"""What comes, for the simulation: customers by popularity (Zipf), with mistakes and attacks among them.

Here: who asks, from where, and how it ends. Not here: what recording it costs (`simulated_store`).
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from octy_middleware import Settings

DEFAULTS = {name: given.default for name, given in Settings.model_fields.items()}
BATCH_DELAY, MOST_SOURCES = DEFAULTS["batch_delay"], DEFAULTS["sources_per_minute"]
ACCEPTED, WRONG, UNKNOWN = range(3)
SKEW = 1.0  # of the popularity: the n-th customer makes 1/n of the first one's requests
A_SOURCE = 30.0  # requests a minute that a customer sends from one address
SHARES = {"mistakes": 0.002, "stuffing": 0.005, "hot key": 0.01, "unknown keys": 0.005}  # of all requests
STUFFED, STUFFERS, HOT_SOURCES, STRANGERS = 50, 500, 2000, 500  # keys, and addresses that are not the customers'
ATTACKERS = 1000  # from here on, numbers of sources are attackers'


@dataclass(frozen=True)
class Load:
    """What comes, and where to."""

    requests: float = 10_000.0  # a second
    customers: int = 1_000_000
    processes: int = 16
    seconds: float = 60.0  # whole minutes where rows a minute are asked for
    seed: int = 1
    batch_delay: float = BATCH_DELAY  # seconds that accepted outcomes wait for company


class Entry(NamedTuple):
    """One request that has been decided. `place` is minute, key and source in one number."""

    at: float
    key: int
    place: int
    kind: int


class Crowd(NamedTuple):
    """Customers of about one popularity: how many, the share of all requests that each has, sources of each."""

    number: int
    share: float
    sources: float


def crowds(load: Load) -> list[Crowd]:
    """Return all customers, the busiest one by one, the others gathered by two per cent."""
    total = sum(1 / rank**SKEW for rank in range(1, load.customers + 1))
    found, rank = [], 1
    while rank <= load.customers:
        number = min(max(1, rank // 50), load.customers + 1 - rank)
        share = 1 / (rank + (number - 1) / 2) ** SKEW / total
        found.append(Crowd(number, share, sources_of(share, load)))
        rank += number
    return found


def sources_of(share: float, load: Load) -> int:
    return min(MOST_SOURCES, 1 + int(share * load.requests * 60 / A_SOURCE))


def distinct(people: Iterable[Crowd], requests: float) -> float:
    """Return how many (key, source) so many requests are of, on average."""
    return sum(c.number * c.sources * -math.expm1(-requests * c.share / c.sources) for c in people)


def missed(people: Sequence[Crowd], size: int) -> float:
    """Return the share of requests whose key is not among the `size` that came in last (FIFO)."""
    if size >= sum(c.number for c in people):
        return 0.0
    low, high = 0.0, 1e15
    for _ in range(100):
        stay = (low + high) / 2
        low, high = (stay, high) if sum(c.number * _there(c.share * stay) for c in people) < size else (low, stay)
    return sum(c.number * c.share * (1 - _there(c.share * low)) for c in people)


def _there(visits: float) -> float:
    return visits / (1 + visits)


def draw(load: Load) -> Iterator[Entry]:
    """Draw what comes, in order."""
    chance = random.Random(load.seed)
    weights = list(accumulate(1 / rank**SKEW for rank in range(1, load.customers + 1)))
    number = int(load.requests * load.seconds)
    keys = chance.choices(range(load.customers), cum_weights=weights, k=number)
    kinds = chance.choices([*SHARES, ""], weights=[*SHARES.values(), 1 - sum(SHARES.values())], k=number)
    sources = [sources_of((1 / (key + 1) ** SKEW) / weights[-1], load) for key in range(min(load.customers, 100_000))]
    for index, (key, kind) in enumerate(zip(keys, kinds, strict=True)):
        own = int(chance.random() * sources[key]) if key < len(sources) else 0
        key, source, outcome = _sent(kind, key, own, chance, load)  # noqa: PLW2901
        at = index / load.requests
        yield Entry(at, key, ((int(at) // 60 * (load.customers + 1) + key) << 13) | source, outcome)


def _sent(kind: str, key: int, own: int, chance: random.Random, load: Load) -> tuple[int, int, int]:
    """Return key, source and outcome. Attacked are the busiest customer, and some of the others at regular steps."""
    if kind == "stuffing":
        step = max(1, load.customers // STUFFED)
        return chance.randrange(STUFFED) * step % load.customers, ATTACKERS + chance.randrange(STUFFERS), WRONG
    if kind == "hot key":
        return 0, ATTACKERS + chance.randrange(HOT_SOURCES), WRONG
    if kind == "unknown keys":
        return load.customers, ATTACKERS + chance.randrange(STRANGERS), UNKNOWN
    return key, own, WRONG if kind else ACCEPTED
