"""`python -m proofs.load.key_cache_flood`: a million random public keys from random sources.

Every one is refused and recorded, rows and memory stay bounded, and the key pairs that were known before are never
pushed out of memory. Many threads ask at once, for otherwise the disk would set the speed.
"""

import random
import sys
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from string import ascii_letters, ascii_lowercase, digits

import psutil
from support.world import FakeRequest, Keys, World, basic

from octy_middleware import Authenticator, Outcome
from octy_middleware.auth import key_cache
from octy_middleware.http.decision import AuthDecision
from proofs.load.databases import proof_parser, run_proof
from proofs.load.report import Report

KNOWN = 3  # key pairs in use during the flood; memory has room for no other
SOURCES, NETWORKS, DETAILS = 256, 1000, 60  # the settings' defaults, which bound the rows
_THREADS = 64  # refusals on their way to the disk
_ROUND = 5000  # requests that are made in advance
_USE_EVERY = 50  # flooding requests between two uses of each known key pair
_TRACED = 1000  # requests over which the key cache's allocations are traced; it is slow
_KEPT_BYTES = 10_000  # that the key cache may hold more after these; a remembered key would be some hundred
_TABLES = ("outcome_minute", "attempt", "streak", "key_change", "incident", "outbox", "key_pair")


def random_request(chance: random.Random) -> FakeRequest:
    """Return one with a well-formed public key of the three shapes in use, from a random address."""
    shape = chance.randrange(3)
    if shape == 0:
        name = "".join(chance.choices(digits + ascii_letters, k=28))
    elif shape == 1:
        name = f"{chance.getrandbits(256):064x}"
    else:
        name = "-".join("".join(chance.choices(digits + ascii_lowercase, k=length)) for length in (8, 4, 4, 4, 10))
    address = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
    return FakeRequest(basic(f"pk_{name}", "sk_guess"), peer=address)


class Flood:
    """Sends the flood through an authenticator and uses the known key pairs meanwhile."""

    def __init__(self, authenticator: Authenticator, known: list[Keys], seed: int) -> None:
        self._authenticator = authenticator
        self._chance = random.Random(seed)
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
                some = [random_request(self._chance) for _ in range(min(_ROUND, requests - begun))]
                for number, decision in enumerate(threads.map(self._authenticator.decide, some)):
                    self.outcomes[str(decision.outcome)] += 1
                    if number % _USE_EVERY == 0:
                        self._use()
        self.pushed_out += sum(a is not b for a, b in zip(self._remembered(), self._records, strict=True))

    def _use(self) -> None:
        for owner in self._owners:
            decision = self._authenticator.decide_from_memory(owner)
            self.used += 1
            self.looked_up += not isinstance(decision, AuthDecision) or decision.outcome is not Outcome.ACCEPTED

    def _remembered(self) -> list[bytes | None]:
        return [self._authenticator.key_cache.get_packed(key) for key in self._keys]


def measure(world: World, keys: int, seed: int = 1) -> Report:
    report = Report(f"{world.database_kind}, {keys} random public keys (seed {seed})")
    known = [world.register(f"customer-{number}") for number in range(KNOWN)]
    begun, before = time.monotonic(), _resident_mib()
    with world.authenticator(key_cache_size=KNOWN) as authenticator:
        flood = Flood(authenticator, known, seed)
        flood.send(keys // 10)
        settled = _resident_mib()
        flood.send(keys - keys // 10)
        seconds, after = time.monotonic() - begun, _resident_mib()
        kept = _bytes_kept(flood)
        remembered = len(authenticator.key_cache.memory.records)
        lost = authenticator.health().lost
    total = keys + _TRACED
    report.figure("requests a second", round(keys / seconds))
    report.same("outcomes", dict(flood.outcomes), {"unknown_key": total})
    report.same("recorded", world.recorded(), {"unknown_key": total, "accepted": flood.used})
    report.same("given up by the recorder", lost, 0)
    report.same("uses of known key pairs that memory could not answer", flood.looked_up, 0)
    report.figure("uses of known key pairs", flood.used)
    report.same("known records pushed out or replaced", flood.pushed_out, 0)
    report.same("records in memory", remembered, KNOWN)
    resident = [round(part, 1) for part in (before, settled, after)]
    report.figure("resident MiB before, after a tenth, after all", resident)
    report.expect(after - settled < 32, f"memory grew by {after - settled:.1f} MiB after the first tenth")
    report.figure(f"bytes that the key cache kept of {_TRACED} requests", kept)
    report.expect(kept < _KEPT_BYTES, f"the key cache kept {kept} bytes of {_TRACED} requests")
    _check_rows(report, world)
    return report


def _bytes_kept(flood: Flood) -> int:
    """Return what the key cache allocated and kept over some more requests."""
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
    """Rows go by the minute and by limits, whatever was sent."""
    rows = {table: world.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in _TABLES}
    [(minutes,)] = world.rows("SELECT COUNT(DISTINCT minute) FROM outcome_minute")
    report.figure("minutes", minutes)
    report.figure("rows", rows)
    report.expect(rows["outcome_minute"] <= minutes * (SOURCES + 1 + KNOWN), "too many counter rows")
    report.expect(rows["attempt"] <= minutes * DETAILS, "too many details")
    report.expect(rows["streak"] <= NETWORKS + 2, "too many streaks")  # the shared one and the key's own
    report.expect(rows["incident"] == 0, "an unknown key has an incident")
    [(typed,)] = world.rows("SELECT COUNT(*) FROM attempt WHERE public_key <> ''")
    report.same("details that hold a typed key", typed, 0)


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss) / (1 << 20)


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    return run_proof("key_cache_flood", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
