"""The order in which slow hashes are computed, and who is turned away. No threads, no clock.

Every request takes a place in one common queue, first come first served, whether its key exists or not: a refusal is
sent when its hash is computed there. Every second turn, while others wait, belongs to the keys that have an imported
hash of their own, the least recently served first. There a right secret is found early and its request decided; a wrong
one keeps its place and is computed again. Where no such key waits, a decoy's hash is computed in vain. So a right key
pair passes behind any flood, and the time of a refusal does not show which keys exist (`equal_work`).
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

_MAX_PER_SOURCE = 4  # so that one source does not take all places
_MIN_PER_KEY, _KEYS_SHARING = 8, 4  # one key gets at least 8 places, or a quarter of all
_MAX_EARLY_ONLY = 16  # requests without a place in the common queue
_MAX_SERVED_KEYS = 4096  # keys whose last turn is remembered


@dataclass(eq=False, slots=True)
class HashRequest:
    """A request that takes a slow hash. `compute` returns whether the secret matches, None if that can't be found out.

    `decide` is called once, with this request and the result; None also when it was turned away. Without a place in the
    common queue only a right secret may be told.
    """

    compute: Callable[[], bool | None]
    decide: Callable[["HashRequest", bool | None], None]
    public_key: str
    source: str  # a network
    is_decoy: bool = False  # the hash decides nothing
    holds_thread: bool = False  # of the server, while it waits
    is_queued: bool = field(default=False, init=False)  # has a place in the common queue, or its turn there
    is_decided: bool = field(default=False, init=False)


class HashQueue:
    """Holds at most `max_queued` requests in the common queue, those that are computed included, and 16 more.

    Of requests that hold a thread it keeps `max_blocked_threads` in all. Used by one thread at a time.
    """

    def __init__(self, *, max_queued: int, max_blocked_threads: int) -> None:
        self._max_queued = max_queued
        self._max_per_key = max(_MIN_PER_KEY, max_queued // _KEYS_SHARING)
        self._max_early_only = min(_MAX_EARLY_ONLY, max_queued)
        self._max_early_threads = max_blocked_threads // 2
        self._max_queued_threads = max_blocked_threads - self._max_early_threads
        self._max_threads_per_source = (self._max_queued_threads + 1) // 2
        self._queue: deque[HashRequest] = deque()  # that wait for their turn
        self._early: dict[HashRequest, None] = {}  # an ordered set: those with a hash of their own, not computed yet
        self._early_only = 0  # requests outside the common queue, those that are computed included
        self._by_source: Counter[str] = Counter()
        self._by_key: Counter[str] = Counter()
        self._is_early_turn = False
        self._served: dict[str, int] = {}  # by key: the number of its last turn; in that order
        self._turns = 0

    def __len__(self) -> int:
        """Return how many requests are undecided."""
        return self._by_source.total() + self._early_only

    @property
    def has_work(self) -> bool:
        """Whether `take` returns a request."""
        return bool(self._queue or self._early)

    def add(self, request: HashRequest) -> HashRequest | None:
        """Add a request; return the one that is turned away, if any: this one, or one that it replaces.

        Without room in the common queue, a key with a hash of its own still gets one place for an early turn, before
        keys that had one more recently. Only a right secret is told then: a wrong one is answered 503 like all others.
        """
        turned_away: HashRequest | None = None
        if self._has_room(request):
            request.is_queued = True
            self._queue.append(request)
            self._by_source[request.source] += 1
            self._by_key[request.public_key] += 1
        elif request.is_decoy or any(other.public_key == request.public_key for other in self._early):
            return request
        else:
            if self._early_only >= self._limit(request, self._max_early_only, self._max_early_threads):
                turned_away = self._latest_served()
                if turned_away is None or self._last_turn(turned_away) <= self._last_turn(request):
                    return request
                turned_away.is_decided = True
                del self._early[turned_away]
                self._early_only -= 1
            self._early_only += 1
        if not request.is_decoy:
            self._early[request] = None
        return turned_away

    def take(self) -> tuple[HashRequest, bool] | None:
        """Return whose hash to compute next, and whether its turn is an early one; None when none waits."""
        if self._queue and not self._is_early_turn:
            request = self._queue.popleft()
            self._is_early_turn = bool(self._queue)
            self._serve(request)
            return request, False
        self._is_early_turn = False
        if self._early:
            request = min(self._early, key=self._last_turn)  # the first of those that are equal
            self._serve(request)
            return request, True
        return (self._queue[0], True) if self._queue else None

    def finish(self, request: HashRequest, result: bool | None, *, early: bool) -> bool:  # noqa: FBT001
        """Return whether this result decides the request. A wrong one of an early turn does not: it keeps its place."""
        if request.is_decided or (early and request.is_queued and (request.is_decoy or not result)):
            return False
        request.is_decided = True
        if not request.is_queued:
            self._early_only -= 1
            return True
        if early and request in self._queue:
            self._queue.remove(request)
            self._is_early_turn = self._is_early_turn and bool(self._queue)
        self._by_source[request.source] -= 1
        self._by_key[request.public_key] -= 1
        self._by_source += Counter()  # removes zeros
        self._by_key += Counter()
        return True

    def _has_room(self, request: HashRequest) -> bool:
        return (
            self._by_source.total() < self._limit(request, self._max_queued, self._max_queued_threads)
            and self._by_source[request.source] < self._limit(request, _MAX_PER_SOURCE, self._max_threads_per_source)
            and self._by_key[request.public_key] < self._max_per_key
        )

    def _serve(self, request: HashRequest) -> None:
        """Note that it is the turn of this request, and of its key if that has a hash of its own."""
        self._early.pop(request, None)
        if request.is_decoy:
            return
        self._turns += 1
        self._served.pop(request.public_key, None)
        self._served[request.public_key] = self._turns
        if len(self._served) > _MAX_SERVED_KEYS:
            del self._served[next(iter(self._served))]

    def _last_turn(self, request: HashRequest) -> int:
        return self._served.get(request.public_key, 0)

    def _latest_served(self) -> HashRequest | None:
        """Return the request outside the common queue whose key had the latest turn."""
        waiting = [request for request in self._early if not request.is_queued]
        return max(waiting, key=self._last_turn) if waiting else None

    @staticmethod
    def _limit(request: HashRequest, limit: int, of_threads: int) -> int:
        return min(limit, of_threads) if request.holds_thread else limit
