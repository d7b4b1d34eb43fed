"""`python -m proofs.load.slow_hashes`: right pairs with a fast digest while unknown keys cost slow hashes.

One pair with a SHA-crypt hash of so many rounds is imported, so each made-up key takes such a hash in vain. Rounds with
and without strangers take turns, and p99 of the right pair must stay within 1.5 of that without. Two controls tell what
the machine itself does: rounds without strangers against each other, and rounds beside unrelated processes of the
lowest priority that compute the same hashes. Not here: how fast hashes are, which is nobody's wish.
"""

import argparse
import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Self

from passlib.hash import sha512_crypt
from support.imported_pairs import have
from support.until import until
from support.world import Keys, World, basic

from octy_middleware import Settings
from octy_worker.dev.processes import LOOPBACK
from proofs.load.databases import add_database_option, chosen_databases, fresh_world
from proofs.load.report import Report, conclude, in_ms, percentile
from proofs.load.servers import LOAD_APP, Server, serving

_PATH = "/v1/account/authenticate"
_PACE = 0.004  # seconds between two requests of the right pair
_ALIKE = 0.0005  # seconds that no two rounds on a shared machine are closer
_UNRELATED = """
import sys
from octy_middleware.auth.hash_child import _lower_priority
from octy_middleware.keys.native_crypt import verify_sha_crypt
_lower_priority()
print(flush=True)
while True:
    verify_sha_crypt("x", sys.argv[1])
"""


def ask(connection: http.client.HTTPConnection, header: str) -> int:
    connection.request("GET", _PATH, headers={"Authorization": header})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def probe(server: Server, keys: Keys, seconds: float) -> tuple[list[float], set[int]]:
    """Ask with a right pair; return what each request took, and which statuses came."""
    took, statuses, end = [], set(), time.monotonic() + seconds
    with closing(http.client.HTTPConnection(LOOPBACK, server.port, timeout=30)) as connection:
        while time.monotonic() < end:
            begun = time.perf_counter()
            statuses.add(ask(connection, keys.basic()))
            took.append(time.perf_counter() - begun)
            time.sleep(_PACE)
    return took, statuses


class Strangers:
    """So many connections that send made-up keys of an old shape, one after the other, until they are stopped."""

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._stop = threading.Event()
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        number = 0
        with closing(http.client.HTTPConnection(LOOPBACK, self._server.port, timeout=60)) as connection:
            while not self._stop.is_set():
                number += 1
                status = ask(connection, basic(f"pk_{index:032x}{number:032x}", "x"))
                self.statuses.append(status)
                if status == 503:  # there was no room: real clients wait
                    self._stop.wait(0.05)


@contextmanager
def unrelated(number: int, stored: str) -> Iterator[None]:
    """Let so many processes that have nothing to do with a server compute a hash all the time."""
    command = [sys.executable, "-c", _UNRELATED, stored]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # as the server's own children
        for _ in range(number)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def measure(
    world: World,
    *,
    rounds: int,
    strangers: int,
    turns: int,
    seconds: float,
    part: float = 0.99,
    limit: float = 1.5,
    controls: bool = False,
) -> Report:
    """Let rounds with and without strangers take turns, and compare: this part of the requests, so many times."""
    report = Report(f"{strangers} strangers against SHA-crypt of {rounds:,} rounds on {world.store}")
    slow, fast = world.register("imported"), world.register("fast")
    stored = str(sha512_crypt.using(rounds=rounds).hash(slow.secret))
    have(world, slow, stored, "sha512_crypt-2^19")
    alone: list[float] = []
    again: list[float] = []
    beside: list[float] = []
    unbidden: list[float] = []
    seen: set[int] = set()
    told: list[int] = []
    with serving(world) as fleet:
        server = fleet.start("starlette", app=LOAD_APP)
        probe(server, fast, 0.5)
        for _ in range(turns):
            took, statuses = probe(server, fast, seconds)
            alone += took
            seen |= statuses
            with Strangers(server, strangers) as crowd:
                until(lambda crowd=crowd: bool(crowd.statuses))
                took, statuses = probe(server, fast, seconds)
            beside += took
            seen |= statuses
            told += crowd.statuses
            if controls:
                again += probe(server, fast, seconds)[0]
                with unrelated(Settings.model_fields["max_slow_hashes"].get_default(call_default_factory=True), stored):
                    unbidden += probe(server, fast, seconds)[0]
        fleet.stop()
    report.figure("without strangers", in_ms(alone))
    report.figure("beside strangers", in_ms(beside))
    report.figure("strangers were told", {status: told.count(status) for status in sorted(set(told))})
    report.same("statuses of the right pair", seen, {200})
    report.expect(set(told) <= {401, 503} and 401 in told, "strangers were told something else")
    quiet, crowded = percentile(alone, part), percentile(beside, part)
    report.figure(f"p{part:.0%} beside them, of that without", round(crowded / quiet, 2))
    if controls:
        report.figure("without strangers, again", f"{in_ms(again)}, {percentile(again, part) / quiet:.2f} of that")
        beside_others = percentile(unbidden, part) / quiet
        report.figure("beside unrelated processes", f"{in_ms(unbidden)}, {beside_others:.2f} of that")
    report.expect(crowded - limit * quiet < _ALIKE, f"it grew {crowded / quiet:.2f} times")
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_option(parser)
    parser.add_argument("--rounds", type=int, default=656_000)
    parser.add_argument("--strangers", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    reports = []
    for store in chosen_databases(options):
        with fresh_world(store) as world:
            reports.append(
                measure(
                    world,
                    rounds=options.rounds,
                    strangers=options.strangers,
                    turns=options.turns,
                    seconds=options.seconds,
                    controls=True,
                )
            )
    return conclude("proofs.load.slow_hashes", reports)


if __name__ == "__main__":
    sys.exit(main())
