"""The optimizations on the request path, the plainest code in place of each, and the requests they are for."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection
from support.world import World

from octy_middleware import Authenticator, OctyASGIMiddleware
from octy_middleware.auth.header_cache import HeaderCache
from octy_middleware.clock import elapsed
from octy_middleware.db.pinned_connection import PinnedConnection
from octy_middleware.http.client_address import counted_source, network_of
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.keys.secret import row_binding
from octy_middleware.recording.batch_queue import BatchQueue
from octy_middleware.recording.recorder import Recorder
from proofs.benchmarks.apps.bare import Bare
from proofs.benchmarks.arms import AsgiArm
from proofs.benchmarks.bulk import authorization
from proofs.benchmarks.lab import NAMES

KEYS = 400  # in the database
CLIENTS = 64  # at once, in a flood

Replacements = dict[str, object]
"""What takes the place of which module attribute."""


@dataclass(frozen=True)
class RequestKind:
    """One kind of request. `numbers`: of the keys; `warm_up`: requests before those that are measured."""

    name: str
    requests: int
    outcome: str = "accepted"
    numbers: Sequence[int] = (0,)
    tasks: int = 1
    rate: float = 0  # requests a second; 0 for as fast as possible
    warm_up: int = 1
    header_cache_size: int = 100_000

    def build(self, world: World) -> AsgiArm:
        wrong = self.outcome != "accepted"
        headers = [authorization(number, wrong=wrong) for number in self.numbers]
        settings = world.settings(header_cache_size=self.header_cache_size)
        app = OctyASGIMiddleware(Bare(), authenticator=Authenticator(settings))  # by settings, all arms would share one
        return AsgiArm(app, *headers, tasks=self.tasks, status=401 if wrong else 200, rate=self.rate)


ACCEPTED = RequestKind("accepted, header seen before", 3000)
NEW_HEADER = RequestKind(
    "accepted, key seen before, header not", 1200, numbers=range(KEYS), warm_up=KEYS, header_cache_size=1
)
FIRST_USE = RequestKind("first use of a key", 150, numbers=range(KEYS))
REFUSED = RequestKind("refused, one client", 60, "wrong_secret")
FLOOD = RequestKind(f"refused, {CLIENTS} clients, one key", 1200, "wrong_secret", tasks=CLIENTS)
FLOOD_AT_RATE = RequestKind("refused, 1,000 a second, a key each", 800, "wrong_secret", range(CLIENTS), CLIENTS, 1000.0)
FLOOD_OF_KEYS = RequestKind(f"refused, {CLIENTS} clients, a key each", 400, "wrong_secret", range(CLIENTS), CLIENTS)


class NoHeaderCache(HeaderCache):
    """Finds nothing, so that every header is parsed and its secret verified."""

    def get(self, value: bytes, source: str) -> AuthDecision | None:
        return None

    def add(self, value: bytes, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        pass


class DictHeaderCache(HeaderCache):
    """A dict of headers in clear, and an event for each request: neither digests nor shared events."""

    def restart(self) -> None:
        self.headers: dict[bytes, tuple[KeyRecord, bytes, AuthDecision]] = {}

    def get(self, value: bytes, source: str) -> AuthDecision | None:
        found = self.headers.get(value)
        if found is None:
            return None
        record, packed, decision = found
        now = self._clock()
        if (
            self._memory.records.get(record.public_key.encode()) is not packed
            or elapsed() > self._memory.trusted_until
            or not record.is_live(now)
        ):
            return None
        event = AuthEvent(
            Outcome.ACCEPTED, now, counted_source(source), network_of(source), record.public_key, record.pair_id
        )
        return decision if self._recorder.record(event) else decision._replace(event=event)

    def add(self, value: bytes, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        if len(self.headers) >= self._size:
            self.headers.clear()
        self.headers[value] = record, packed, decision


class PooledConnection(PinnedConnection):
    """Takes a connection from the pool for each use and returns it."""

    def use(
        self, connect: Callable[[], Connection], is_current: Callable[[Connection], bool]
    ) -> AbstractContextManager[Connection]:
        return connect()


class PuttingRecorder(Recorder):
    """Calls the queue in place of appending to it."""

    def record(self, event: AuthEvent) -> bool:
        if len(self._batch_queue) < self._no_wait_limit:
            self._batch_queue.put(event)
            return True
        return self._record_when_half_full(event)


class LockedQueue(BatchQueue[Any]):
    """Appends under a lock."""

    def restart(self) -> None:
        super().restart()
        self._put_lock = threading.Lock()

    def put(self, item: object) -> None:
        with self._put_lock:
            super().put(item)


def _no_short_path(*_given: object, **_options: object) -> None:
    """Choose the full path for every request, whatever the settings are."""


def _queue(**changed: object) -> Callable[..., BatchQueue[Any]]:
    return lambda *arguments, **options: BatchQueue(*arguments, **{**options, **changed})


def _plain_records() -> Replacements:
    """Return what keeps records as they are, in every module that packs, unpacks or reads packed ones."""
    auth = "octy_middleware.auth"
    unpack = {f"{auth}.{module}.unpack": lambda _key, record: record for module in _UNPACKING}
    pack = {f"{module}.pack": lambda record: record for module in (f"{auth}.key_cache", "octy_middleware.equal_work")}
    return {
        **unpack,
        **pack,
        f"{auth}.authenticator.digest_of": attrgetter("digest"),
        f"{auth}.authenticator.is_live": KeyRecord.is_live,
        f"{auth}.authenticator.row_binding_of": lambda key, record: row_binding(record.pair_id, key),
    }


_UNPACKING = ("authenticator", "verifier")
_HEADER_CACHE = "octy_middleware.auth.authenticator.HeaderCache"
_LOADER_QUEUE = "octy_middleware.auth.key_loader.BatchQueue"
_PUTTING: Replacements = {"octy_middleware.auth.authenticator.Recorder": PuttingRecorder}


@dataclass(frozen=True)
class Piece:
    """What is replaced by what, and the requests that it should make cheaper."""

    off: dict[str, Replacements]
    kinds: Sequence[RequestKind]
    databases: Sequence[str] = tuple(NAMES)


PIECES = {
    "header cache": Piece(
        {"no cache": {_HEADER_CACHE: NoHeaderCache}, "a dict of headers": {_HEADER_CACHE: DictHeaderCache}},
        (ACCEPTED,),
    ),
    "packed key records": Piece({"named tuples": _plain_records()}, (NEW_HEADER, FIRST_USE), ("sqlite",)),
    "pinned connections": Piece(
        {"connections of the pool": {"octy_middleware.db.database.PinnedConnection": PooledConnection}},
        (FIRST_USE, REFUSED, FLOOD_OF_KEYS, FLOOD_AT_RATE),
    ),
    "batches of look-ups": Piece(
        {"one look-up a request": {_LOADER_QUEUE: _queue(max_batch=1)}}, (FLOOD, FLOOD_OF_KEYS, FLOOD_AT_RATE)
    ),
    "queue append in place": Piece(
        {
            "a call of the queue": _PUTTING,
            "a call, under a lock": {**_PUTTING, "octy_middleware.recording.recorder.BatchQueue": LockedQueue},
        },
        (ACCEPTED,),
        ("sqlite",),
    ),
    "short path": Piece(
        {"the full path": {"octy_middleware.auth.authenticator.choose_short_path": _no_short_path}}, (ACCEPTED,)
    ),
}
