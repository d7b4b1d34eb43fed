"""`python -m proofs.load.slow_hashes`: right key pairs with a fast digest while unknown keys cost slow hashes.

One key pair with a SHA-crypt hash of so many rounds is imported, so each made-up key takes such a hash in vain. Turns
with and without made-up keys alternate, and p99 of the right key pair must stay within 1.5 of that without. Two
controls show what the machine itself does: turns without made-up keys against each other, and turns beside unrelated
processes of the lowest priority that compute the same hashes. How fast hashes are does not matter.
"""

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from passlib.hash import sha512_crypt
from support.imported_key_pairs import have
from support.until import until_async
from support.world import Keys, World, basic

from octy_middleware import Settings
from proofs.load.databases import proof_parser, run_proof
from proofs.load.http_clients import Connection, Exchange, keep_asking, statuses, times
from proofs.load.report import Report, in_ms, percentile
from proofs.load.servers import LOAD_APP, Server, serving

_PAUSE = 0.004  # seconds between two requests of the right key pair
_HASH_TIMEOUT = 120.0  # seconds: hashes have the lowest priority on a busy machine
_ALIKE = 0.0005  # seconds that no two turns on a shared machine are closer
_UNRELATED = """
import sys
from octy_middleware.auth.hash_child import lower_priority
from octy_middleware.keys.native_crypt import verify_sha_crypt
lower_priority()
print(flush=True)
while True:
    verify_sha_crypt("x", sys.argv[1])
"""


class Turns:
    """Turns of the right key pair on one server."""

    def __init__(self, server: Server, keys: Keys, seconds: float) -> None:
        self._port, self._authorization, self._seconds = server.port, keys.basic(), seconds
        self.right: list[Exchange] = []
        self.made_up: list[Exchange] = []

    async def run(self, clients: int = 0, seconds: float | None = None) -> list[float]:
        """Use the right key pair while so many clients send made-up keys; return how long its requests took."""
        self._done, before, turn = False, len(self.made_up), list[Exchange]()
        tasks = [asyncio.create_task(self._send_made_up_keys(number)) for number in range(clients)]
        await until_async(lambda: not clients or len(self.made_up) > before, _HASH_TIMEOUT)
        end = time.monotonic() + (seconds or self._seconds)
        await keep_asking(self._port, self._authorization, turn, lambda: time.monotonic() >= end, pause=_PAUSE)
        self._done = True
        await asyncio.gather(*tasks)
        self.right += turn
        return times(turn)

    async def _send_made_up_keys(self, client: int) -> None:
        connection = Connection(self._port, timeout=_HASH_TIMEOUT)
        while not self._done:
            public_key = f"pk_{client:032x}{len(self.made_up):032x}"
            self.made_up.append(await connection.ask(basic(public_key, "x")))
            if self.made_up[-1].status == 503:  # there was no room: real clients wait
                await asyncio.sleep(0.05)
        connection.close()


@contextmanager
def unrelated_processes(number: int, stored: str) -> Iterator[None]:
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
    clients: int,
    turns: int,
    seconds: float,
    part: float = 0.99,
    limit: float = 1.5,
    controls: bool = True,
) -> Report:
    """Let turns with and without made-up keys alternate, and compare: this part of the requests, so many times."""
    report = Report(
        f"{clients} clients with made-up keys against SHA-crypt of {rounds:,} rounds on {world.database_kind}"
    )
    slow, fast = world.register("imported"), world.register("fast")
    stored = str(sha512_crypt.using(rounds=rounds).hash(slow.secret))
    have(world, slow, stored, "sha512_crypt-2^19")
    processes = Settings.model_fields["max_slow_hashes"].get_default(call_default_factory=True)
    took: defaultdict[str, list[float]] = defaultdict(list)
    with serving(world) as group:
        turn = Turns(group.start("starlette", app=LOAD_APP), fast, seconds)
        asyncio.run(turn.run(seconds=0.5))
        for _ in range(turns):
            took["without made-up keys"] += asyncio.run(turn.run())
            took["beside made-up keys"] += asyncio.run(turn.run(clients))
            if controls:
                took["without made-up keys, again"] += asyncio.run(turn.run())
                with unrelated_processes(processes, stored):
                    took["beside unrelated processes"] += asyncio.run(turn.run())
        group.stop()
    told = statuses(turn.made_up)
    report.figure("made-up keys were told", dict(told))
    report.same("statuses of the right key pair", set(statuses(turn.right)), {200})
    report.expect(set(told) <= {401, 503} and 401 in told, "made-up keys were told something else")
    parts = {name: percentile(some, part) for name, some in took.items()}
    quiet, loaded = parts["without made-up keys"], parts["beside made-up keys"]
    for name, some in took.items():
        report.figure(name, f"{in_ms(some)}; p{part * 100:g} is {parts[name] / quiet:.2f} of that without")
    report.expect(loaded - limit * quiet < _ALIKE, f"it grew {loaded / quiet:.2f} times")
    return report


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=656_000)
    parser.add_argument("--clients", type=int, default=4, help="connections that send made-up keys")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn")
    return run_proof("slow_hashes", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
