"""`python -m proofs.load.key_cache_flood`: a million random public keys from random sources.

Shown: every one is refused and recorded, rows and memory stay bounded, and the pairs that were known before are never
pushed out of memory. Many threads ask at once, for otherwise the disk would set the pace.
"""

import argparse
import random
import sys
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.world import FakeRequest, Keys, World, basic

from octy_middleware import Authenticator, Outcome
from octy_middleware.auth import key_cache
from octy_middleware.http.decision import AuthDecision
from proofs.load.databases import add_database_option, chosen_databases, fresh_world
from proofs.load.report import Report, conclude

KNOWN = 3  # pairs in use during the flood; memory has room for no other
SOURCES, NETWORKS, DETAILS = 256, 1000, 60  # the settings' defaults, which bound the rows
_THREADS = 64  # refusals on their way to the disk
_ROUND = 5000  # requests that are made in advance
_USE_EVERY = 50  # flooding requests between two uses of each known pair
_TRACED = 1000  # requests over which the keyring's allocations are traced; it is slow
_ROOM = 10_000  # bytes that the keyring may hold more after these; a remembered key would be some hundred
_TABLES = ("outcome_minute", "attempt", "streak", "key_change", "incident", "outbox", "key_pair")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE36 = _BASE62[:10] + _BASE62[36:]


class Attacker:
    """Random well-formed public keys of the three shapes in use, from random addresses."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self) -> FakeRequest:
        address = ".".join(str(self._random.randrange(1, 255)) for _ in range(4))
        return FakeRequest(basic(self._public_key(), "sk_guess"), peer=address)

    def _public_key(self) -> str:
        shape = self._random.randrange(3)
        if shape == 0:
            return "pk_" + self._text(_BASE62, 28)
        if shape == 1:
            return f"pk_{self._random.getrandbits(256):064x}"
        return "pk_" + "-".join(self._text(_BASE36, length) for length in (8, 4, 4, 4, 10))

    def _text(self, alphabet: str, length: int) -> str:
        return "".join(self._random.choices(alphabet, k=length))


class Flood:
    """Sends the flood through an authenticator and uses the known pairs meanwhile."""

    def __init__(self, authenticator: Authenticator, known: list[Keys], seed: int) -> None:
        self._authenticator = authenticator
        self._attacker = Attacker(seed)
        self._owners = [FakeRequest(keys.basic()) for keys in known]
        self._keys = [keys.public_key.encode() for keys in known]
        for owner in self._owners:
            authenticator.decide(owner)
        self._records = self._remembered()
        self.outcomes: Counter[str] = Counter()
        self.used = KNOWN
        self.looked_up = 0
        self.pushed_out = 0

    def send(self, requests: int) -> None:
        """Send so many, and return when all are on disk."""
        with ThreadPoolExecutor(_THREADS) as threads:
            for begun in range(0, requests, _ROUND):
                some = [self._attacker.request() for _ in range(min(_ROUND, requests - begun))]
                decisions = threads.map(self._authenticator.decide, some)
                for number, decision in enumerate(decisions):
                    self.outcomes[str(decision.outcome)] += 1
                    if number % _USE_EVERY == 0:
                        self._use()
        now = self._remembered()
        self.pushed_out += sum(a is not b for a, b in zip(now, self._records, strict=True))

    def _use(self) -> None:
        for owner in self._owners:
            decision = self._authenticator.decide_from_memory(owner)
            self.used += 1
            if not isinstance(decision, AuthDecision) or decision.outcome is not Outcome.ACCEPTED:
                self.looked_up += 1

    def _remembered(self) -> list[bytes | None]:
        return [self._authenticator._key_cache.get_packed(key) for key in self._keys]


def measure(world: World, requests: int, seed: int = 1) -> Report:
    report = Report(f"{world.store}, {requests} random public keys (seed {seed})")
    known = [world.register(f"customer-{number}") for number in range(KNOWN)]
    begun, before = time.monotonic(), _resident()
    with world.authenticator(key_cache_size=KNOWN) as authenticator:
        flood = Flood(authenticator, known, seed)
        flood.send(requests // 10)
        settled = _resident()
        flood.send(requests - requests // 10)
        taken, after = time.monotonic() - begun, _resident()
        left = _left_behind(flood)
        remembered = len(authenticator._key_cache.memory.records)
        lost = authenticator.health().lost
    total = requests + _TRACED
    report.figure("requests a second", round(requests / taken))
    report.same("outcomes", dict(flood.outcomes), {"unknown_key": total})
    report.same("recorded", world.recorded(), {"unknown_key": total, "accepted": flood.used})
    report.same("given up by the recorder", lost, 0)
    report.same("uses of known pairs that memory could not answer", flood.looked_up, 0)
    report.figure("uses of known pairs", flood.used)
    report.same("known records pushed out or replaced", flood.pushed_out, 0)
    report.same("records in memory", remembered, KNOWN)
    report.figure(
        "resident MiB before, after a tenth, after all", [round(part, 1) for part in (before, settled, after)]
    )
    report.expect(after - settled < 32, f"memory grew by {after - settled:.1f} MiB after the first tenth")
    report.figure(f"bytes that the keyring kept of {_TRACED} requests", left)
    report.expect(left < _ROOM, f"the keyring kept {left} bytes of {_TRACED} requests")
    _check_rows(report, world)
    return report


def _left_behind(flood: Flood) -> int:
    """Return what the keyring allocated and kept over some more requests."""
    only = [tracemalloc.Filter(True, key_cache.__file__)]
    tracemalloc.start()
    try:
        first = tracemalloc.take_snapshot().filter_traces(only)
        flood.send(_TRACED)
        last = tracemalloc.take_snapshot().filter_traces(only)
    finally:
        tracemalloc.stop()
    return sum(part.size_diff for part in last.compare_to(first, "filename"))


def _check_rows(report: Report, world: World) -> None:
    """Rows go by the minute and by caps, whatever was sent."""
    rows = {table: world.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in _TABLES}
    [(minutes,)] = world.rows("SELECT COUNT(DISTINCT minute) FROM outcome_minute")
    report.figure("minutes", minutes)
    report.figure("rows", rows)
    report.expect(rows["outcome_minute"] <= minutes * (SOURCES + 1 + KNOWN), "too many counter rows")
    report.expect(rows["attempt"] <= minutes * DETAILS, "too many details")
    report.expect(rows["streak"] <= NETWORKS + 2, "too many streaks")  # the shared one and the key's own
    report.expect(rows["incident"] == 0, "an unknown key has a case")
    typed = world.rows("SELECT COUNT(*) FROM attempt WHERE public_key <> ''")[0][0]
    report.same("details that hold a typed key", typed, 0)


def _resident() -> float:
    """Return this process's resident memory in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_option(parser)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    reports = []
    for store in chosen_databases(options):
        with fresh_world(store) as world:
            reports.append(measure(world, options.keys, options.seed))
    return conclude("proofs.load.key_cache_flood", reports)


if __name__ == "__main__":
    sys.exit(main())
