"""The requests of the simulation: customers by popularity (Zipf), with mistakes and attacks among them."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from octy_middleware import Settings

DEFAULTS = {name: given.default for name, given in Settings.model_fields.items()}
BATCH_DELAY, MAX_SOURCES = DEFAULTS["batch_delay"], DEFAULTS["sources_per_minute"]
ACCEPTED, WRONG, UNKNOWN = range(3)
SKEW = 1.0  # of the popularity: the n-th customer makes 1/n of the first one's requests
REQUESTS_A_SOURCE = 30.0  # a minute, from one address of a customer
SHARES = {"mistakes": 0.002, "stuffing": 0.005, "hot key": 0.01, "unknown keys": 0.005}  # of all requests
STUFFED_KEYS, STUFFING_SOURCES, HOT_SOURCES, UNKNOWN_SOURCES = 50, 500, 2000, 500
FIRST_ATTACKER = 1000  # from here on, numbers of sources are attackers'
SOURCE_BITS = 13  # of `Request.counter`
SOURCE_MASK = (1 << SOURCE_BITS) - 1


@dataclass(frozen=True)
class Load:
    """Requests and the processes that take them."""

    requests: float = 10_000.0  # a second
    customers: int = 1_000_000
    processes: int = 16
    seconds: float = 60.0  # whole minutes where rows a minute are wanted
    seed: int = 1
    batch_delay: float = BATCH_DELAY


class Request(NamedTuple):
    """One request that has been decided. `counter` is minute, key and source in one number."""

    at: float
    key: int
    counter: int
    outcome: int


class CustomerGroup(NamedTuple):
    """Customers of about one popularity: how many, the share of all requests of each, sources of each."""

    number: int
    share: float
    sources: float


def customer_groups(load: Load) -> list[CustomerGroup]:
    """Return all customers, the busiest one by one, the others in groups of two per cent."""
    total = sum(1 / rank**SKEW for rank in range(1, load.customers + 1))
    found, rank = [], 1
    while rank <= load.customers:
        number = min(max(1, rank // 50), load.customers + 1 - rank)
        share = 1 / (rank + (number - 1) / 2) ** SKEW / total
        found.append(CustomerGroup(number, share, sources_of(share, load)))
        rank += number
    return found


def sources_of(share: float, load: Load) -> int:
    return min(MAX_SOURCES, 1 + int(share * load.requests * 60 / REQUESTS_A_SOURCE))


def distinct_sources(groups: Iterable[CustomerGroup], requests: float) -> float:
    """Return how many pairs of key and source so many requests have, on average."""
    return sum(g.number * g.sources * -math.expm1(-requests * g.share / g.sources) for g in groups)


def cache_miss_share(groups: Sequence[CustomerGroup], size: int) -> float:
    """Return the share of requests whose key is not among the `size` that were cached last (FIFO)."""
    if size >= sum(g.number for g in groups):
        return 0.0

    def cached(group: CustomerGroup, stay: float) -> float:
        return group.share * stay / (1 + group.share * stay)

    low, high = 0.0, 1e15  # requests for which a record stays cached
    for _ in range(100):
        stay = (low + high) / 2
        low, high = (stay, high) if sum(g.number * cached(g, stay) for g in groups) < size else (low, stay)
    return sum(g.number * g.share * (1 - cached(g, low)) for g in groups)


def generate(load: Load) -> Iterator[Request]:
    """Yield all requests in order."""
    rng = random.Random(load.seed)
    weights = list(accumulate(1 / rank**SKEW for rank in range(1, load.customers + 1)))
    number = int(load.requests * load.seconds)
    keys = rng.choices(range(load.customers), cum_weights=weights, k=number)
    kinds = rng.choices([*SHARES, ""], weights=[*SHARES.values(), 1 - sum(SHARES.values())], k=number)
    sources = [sources_of((1 / (key + 1) ** SKEW) / weights[-1], load) for key in range(min(load.customers, 100_000))]
    for index, (customer, kind) in enumerate(zip(keys, kinds, strict=True)):
        own = int(rng.random() * sources[customer]) if customer < len(sources) else 0
        key, source, outcome = _attacked(kind, customer, own, rng, load)
        at = index / load.requests
        counter = ((int(at) // 60 * (load.customers + 1) + key) << SOURCE_BITS) | source
        yield Request(at, key, counter, outcome)


def _attacked(kind: str, key: int, own_source: int, rng: random.Random, load: Load) -> tuple[int, int, int]:
    """Return key, source and outcome. The busiest customer is attacked, and some of the others at regular steps."""
    if kind == "stuffing":
        step = max(1, load.customers // STUFFED_KEYS)
        key = rng.randrange(STUFFED_KEYS) * step % load.customers
        return key, FIRST_ATTACKER + rng.randrange(STUFFING_SOURCES), WRONG
    if kind == "hot key":
        return 0, FIRST_ATTACKER + rng.randrange(HOT_SOURCES), WRONG
    if kind == "unknown keys":
        return load.customers, FIRST_ATTACKER + rng.randrange(UNKNOWN_SOURCES), UNKNOWN
    return key, own_source, WRONG if kind else ACCEPTED
