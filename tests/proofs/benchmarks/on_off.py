"""Measure what each optimization on the request path gains.

`python -m proofs.benchmarks.on_off [--rounds n] [--piece NAME,…] [--stores NAME,…] [--scale x] [--seed n]`

Each piece is measured as it is, as it is once more (A/A, the control), and replaced by the plainest code that behaves
alike. Replacements take the place of module attributes while an arm is built and while it runs; the product has no
switch. Every round runs all arms in random order, and ratios are taken within a round.

CPU is that of the whole process until all events are committed, so load of other processes matters little. A database
server's CPU is not in it.
"""

import argparse
import gc
import math
import random
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import Connection
from support.world import World

from octy_middleware import Authenticator, OctyASGIMiddleware
from octy_middleware.auth.header_cache import HeaderCache
from octy_middleware.auth.key_cache import KeyCache
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
from proofs.benchmarks.bulk import authorization, insert_keys, public_key
from proofs.benchmarks.in_process import figures_of
from proofs.benchmarks.lab import NAMES, Lab
from proofs.benchmarks.presentation import Table, markdown
from proofs.benchmarks.sizes import TINY
from proofs.benchmarks.spread import Series, ratios

ON, AGAIN = "on", "on again (A/A)"
KEYS = 400  # in the database
CLIENTS = 64  # at once, in a flood
WANTED = 0.05  # what a piece must gain beyond the control

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
    warm_up: int = 1
    header_cache_size: int = 100_000

    def build(self, world: World) -> AsgiArm:
        wrong = self.outcome != "accepted"
        headers = [authorization(number, wrong=wrong) for number in self.numbers]
        settings = world.settings(header_cache_size=self.header_cache_size)
        app = OctyASGIMiddleware(Bare(), authenticator=Authenticator(settings))  # by settings, all arms would share one
        return AsgiArm(app, *headers, tasks=self.tasks, status=401 if wrong else 200)


ACCEPTED = RequestKind("accepted, header seen before", 3000)
NEW_HEADER = RequestKind(
    "accepted, key seen before, header not", 1200, numbers=range(KEYS), warm_up=KEYS, header_cache_size=1
)
FIRST_USE = RequestKind("first use of a key", 150, numbers=range(KEYS))
REFUSED = RequestKind("refused, one client", 60, "wrong_secret")
FLOOD = RequestKind(f"refused, {CLIENTS} clients, one key", 1200, "wrong_secret", tasks=CLIENTS)
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
            or self._monotonic() > self._memory.trusted_until
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


_UNPACKING = ("authenticator", "key_cache", "verifier")
_HEADER_CACHE = "octy_middleware.auth.authenticator.HeaderCache"
_LOADER_QUEUE = "octy_middleware.auth.key_loader.BatchQueue"
_PUTTING: Replacements = {"octy_middleware.auth.authenticator.Recorder": PuttingRecorder}


@dataclass(frozen=True)
class Piece:
    """What is replaced by what, and the requests that it should make cheaper."""

    off: dict[str, Replacements]
    kinds: Sequence[RequestKind]
    stores: Sequence[str] = tuple(NAMES)


PIECES = {
    "header cache": Piece(
        {"no cache": {_HEADER_CACHE: NoHeaderCache}, "a dict of headers": {_HEADER_CACHE: DictHeaderCache}},
        (ACCEPTED,),
    ),
    "packed key records": Piece({"named tuples": _plain_records()}, (NEW_HEADER, FIRST_USE), ("sqlite",)),
    "pinned connections": Piece(
        {"connections of the pool": {"octy_middleware.db.database.PinnedConnection": PooledConnection}},
        (FIRST_USE, REFUSED, FLOOD_OF_KEYS),
    ),
    "paced look-ups": Piece(
        {
            "no interval between batches": {_LOADER_QUEUE: _queue(min_interval=0.0)},
            "one look-up a request": {_LOADER_QUEUE: _queue(max_batch=1)},
        },
        (FLOOD, FLOOD_OF_KEYS),
    ),
    "queue append in place": Piece(
        {
            "a call of the queue": _PUTTING,
            "a call, under a lock": {**_PUTTING, "octy_middleware.recording.recorder.BatchQueue": LockedQueue},
        },
        (ACCEPTED,),
        ("sqlite",),
    ),
}


def replaced(replacements: Replacements) -> ExitStack:
    """Return a context in which module attributes are replaced."""
    with ExitStack() as stack:
        for target, new in replacements.items():
            stack.enter_context(patch(target, new))
        return stack.pop_all()


def measure(lab: Lab, piece: Piece, kind: RequestKind, store: str, *, rounds: int, scale: float) -> dict[str, Series]:
    """Return each arm's microseconds in every round. Raises RuntimeError when not every request was recorded."""
    replacements: dict[str, Replacements] = {ON: {}, AGAIN: {}, **piece.off}
    requests = max(1, int(kind.requests * scale))
    with lab.world(store) as world, ExitStack() as stack:
        insert_keys(world, KEYS)
        arms = {}
        for name, some in replacements.items():
            with replaced(some):
                arms[name] = arm = kind.build(world)
            stack.callback(arm.close)
            stack.callback(arm.stop)
        gc.freeze()

        def turn(name: str) -> dict[str, float]:
            with replaced(replacements[name]):
                return figures_of(arms[name], requests, warm_up=kind.warm_up)

        series = lab.play(f"{kind.name}, {NAMES[store]}", list(arms), rounds, turn)
        gc.unfreeze()
        recorded, wanted = world.recorded(), len(arms) * (rounds + 1) * (requests + kind.warm_up)
        if recorded != {kind.outcome: wanted}:
            raise RuntimeError(f"{kind.name}, {store}: {recorded} recorded, not {wanted} {kind.outcome}")
    return series


def bytes_of_records(lab: Lab, number: int) -> dict[str, float]:
    """Return the bytes that a cached record takes with its place in the cache, packed and as a named tuple."""
    found = {}
    with lab.world("sqlite") as world:
        insert_keys(world, number)
        for name, some in ((ON, {}), *PIECES["packed key records"].off.items()):
            cache = KeyCache(world.database, size=number, interval=60, grace_period=0)
            with replaced(some):
                cache.load_many([public_key(0)])
                tracemalloc.start()
                for start in range(0, number, 500):
                    cache.load_many(map(public_key, range(start, min(start + 500, number))))
                gc.collect()
                found[name] = tracemalloc.get_traced_memory()[0] / number
                tracemalloc.stop()
            cache.close()
    return found


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % confidence interval, by ranks: nothing is assumed of the distribution."""
    ordered = sorted(values)
    middle, reach = (len(ordered) - 1) / 2, 0.98 * math.sqrt(len(ordered))
    low, high = max(0, math.floor(middle - reach)), min(len(ordered) - 1, math.ceil(middle + reach))
    return (ordered[math.floor(middle)] + ordered[math.ceil(middle)]) / 2, ordered[low], ordered[high]


def verdict(ratio: Sequence[float], control: Sequence[float]) -> str:
    """Say whether the plain code costs at least 5 % more than the control does, by the intervals of both."""
    _, low, high = median_interval(ratio)
    _, control_low, control_high = median_interval(control)
    if low - control_high >= WANTED:
        return "gains"
    return "gains no 5 %" if high - control_low < WANTED else "undecided"


def table(title: str, series: dict[str, Series], rounds: int) -> Table:
    base = series[ON]
    rows = []
    for name, mine in series.items():
        cells = []
        for key in ("cpu_us", "thread_us", "wall_us"):
            median, low, high = median_interval(ratios(mine[key], base[key]))
            cells += [f"{median_interval(mine[key])[0]:,.2f}", f"{median:.3f} [{low:.3f} – {high:.3f}]"]
        compared = (ratios(each["cpu_us"], base["cpu_us"]) for each in (mine, series[AGAIN]))
        rows.append((name, *cells, "" if name in (ON, AGAIN) else verdict(*compared)))
    columns = ("", "CPU µs", "ratio", "CPU µs, client's thread", "ratio", "wall µs", "ratio", "the piece, by CPU")
    return Table(title, columns, rows, f"{rounds} rounds. Ratios to “on”: median and its 95 % confidence interval.")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="on_off", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--piece", action="append", choices=PIECES, help="may be repeated; all by default")
    parser.add_argument("--store", action="append", choices=NAMES, help="may be repeated; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    show = partial(print, flush=True)
    scale = options.scale
    with (
        tempfile.TemporaryDirectory(prefix="octy-on-off-") as folder,
        Progress(console=Console(file=sys.stderr)) as bar,
    ):
        lab = Lab(Path(folder), TINY, random.Random(options.seed), tuple(options.store or NAMES), bar)
        try:
            for name in options.piece or PIECES:
                piece = PIECES[name]
                for kind in piece.kinds:
                    for store in filter(piece.stores.__contains__, lab.stores):
                        series = measure(lab, piece, kind, store, rounds=options.rounds, scale=scale)
                        show(markdown(table(f"{name}: {kind.name}, {NAMES[store]}", series, options.rounds)))
            if "packed key records" in (options.piece or PIECES):
                found = bytes_of_records(lab, max(500, int(20_000 * scale)))
                show("Bytes of a cached record:", ", ".join(f"{name} {size:.0f}" for name, size in found.items()))
        finally:
            lab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
