"""The order of items that wait for more than one batch: those of rare keys and sources first. No threads, no clock.

Attackers choose keys and sources freely, so neither alone is fair: the rank of an item is the product of how many wait
under its key and how many from its source. A flood on one key from many networks, and one on many keys from one
network, both rank behind a single request with another key from another network. Whether a key exists does not matter
(`equal_work`).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairBacklog(Generic[Item]):
    """Waiting items. `groups_of` returns an item's key and source. Used by one thread.

    Ranks count from that of the last item taken (start-time fair queueing), so later items overtake none for ever.
    """

    def __init__(self, groups_of: Callable[[Item], tuple[str, str]]) -> None:
        self._groups_of = groups_of
        self._heap: list[tuple[int, int, Item, str, str]] = []
        self._by_key: Counter[str] = Counter()
        self._by_source: Counter[str] = Counter()
        self._numbers = count()
        self._now = 0  # the rank of the last item taken

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._heap)

    def add(self, items: Iterable[Item]) -> None:
        """Add items in the order in which they came."""
        by_key, by_source = self._by_key, self._by_source
        for item in items:
            key, source = self._groups_of(item)
            by_key[key] += 1
            by_source[source] += 1
            rank = self._now + by_key[key] * by_source[source]
            heappush(self._heap, (rank, next(self._numbers), item, key, source))

    def take(self, limit: int) -> list[Item]:
        """Remove and return at most `limit` items, the first in order first."""
        taken: list[Item] = []
        while self._heap and len(taken) < limit:
            self._now, _, item, key, source = heappop(self._heap)
            taken.append(item)
            for group, name in ((self._by_key, key), (self._by_source, source)):
                group[name] -= 1
                if not group[name]:
                    del group[name]
        return taken
