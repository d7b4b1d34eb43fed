"""`python -m proofs.load.hash_flood`: first uses of key pairs while a flood fills the queue for slow hashes.

Key pairs with argon2 hashes of the usual cost are imported. Clients flood with unknown keys and with wrong secrets of
one imported key, each request from another network and each at once after the last. Meanwhile other customers use their
key pairs for the first time, some with an argon2 hash, some with a digest of ours, and one customer goes on. Each of
these requests must be accepted when it is sent for the first time. How long an argon2 hash takes at the lowest priority
is the machine's; first uses of such key pairs are shown as multiples of one without the flood.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable
from typing import Self

from passlib.hash import argon2
from support.imported_key_pairs import have
from support.world import Keys, World, basic

from proofs.load.databases import proof_parser, run_proof
from proofs.load.http_clients import Connection, Exchange, keep_asking, statuses, times
from proofs.load.report import Report, in_ms, percentile
from proofs.load.servers import LOAD_APP, serving

_TIMEOUT = 120.0  # seconds: hashes have the lowest priority on a busy machine
_PAUSE = 0.01  # seconds between two requests of a customer
_BACKOFF = 0.1  # seconds between 503 and the next request of a client of the flood
_SETTINGS = {"OCTY_TRUSTED_PROXIES": "127.0.0.1", "OCTY_REQUIRE_HTTPS": "0"}


class Flood:
    """Clients that send wrong key pairs, each request from a random network."""

    def __init__(self, port: int, attacked: Keys, clients: int, seed: int) -> None:
        self._port, self._attacked, self._clients = port, attacked, clients
        self._rng = random.Random(seed)
        self.exchanges: list[Exchange] = []

    async def __aenter__(self) -> Self:
        self._done = False
        self._tasks = [asyncio.create_task(self._send(number)) for number in range(self._clients)]
        deadline = time.monotonic() + _TIMEOUT
        while not any(exchange.status == 503 for exchange in self.exchanges):  # the queue is full
            if time.monotonic() > deadline:
                raise TimeoutError("the flood did not fill the queue")
            await asyncio.sleep(_BACKOFF)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._done = True
        await asyncio.gather(*self._tasks)

    async def _send(self, client: int) -> None:
        connection = Connection(self._port, timeout=_TIMEOUT)
        while not self._done:
            unknown = basic(f"pk_{self._rng.getrandbits(256):064x}", "x")
            source = ".".join(str(self._rng.randrange(1, 250)) for _ in range(4))
            header = self._attacked.basic("sk_wrong") if client % 2 else unknown
            self.exchanges.append(await connection.ask(header, source=source))
            if self.exchanges[-1].status == 503:
                await asyncio.sleep(_BACKOFF)
        connection.close()


async def first_uses(port: int, pairs: list[Keys]) -> list[Exchange]:
    """Use each key pair once, one after the other."""
    connection = Connection(port, timeout=_TIMEOUT)
    found = []
    for number, keys in enumerate(pairs):
        found.append(await connection.ask(keys.basic(), source=f"203.0.{number}.7"))
        await asyncio.sleep(_PAUSE)
    connection.close()
    return found


async def _while(work: Callable[[], bool], port: int, keys: Keys) -> list[Exchange]:
    found: list[Exchange] = []
    await keep_asking(port, keys.basic(), found, work, pause=_PAUSE)
    return found


def measure(
    world: World, *, slow: int, fast: int, clients: int, seed: int, rounds: int = 3, max_waiting: int = 64
) -> Report:
    """Flood with so many clients while so many key pairs with a slow and with a fast digest are first used.

    `rounds`: argon2's time cost; `max_waiting`: OCTY_MAX_WAITING_HASHES.
    """
    report = Report(
        f"{clients} clients, half with unknown keys, half on one imported key, {world.database_kind} (seed {seed})"
    )
    attacked, *imported = [_import_pair(world, number, rounds) for number in range(2 * slow + 1)]
    seen, *others = [world.register(f"fast-{number}") for number in range(2 * fast + 1)]
    with serving(world, {**_SETTINGS, "OCTY_MAX_WAITING_HASHES": str(max_waiting)}) as group:
        port = group.start("starlette", app=LOAD_APP).port
        asyncio.run(first_uses(port, [seen]))
        calm = asyncio.run(first_uses(port, imported[:slow])), asyncio.run(first_uses(port, others[:fast]))
        flood = Flood(port, attacked, clients, seed)

        async def meanwhile() -> tuple[list[Exchange], list[Exchange], list[Exchange]]:
            async with flood:
                work = asyncio.gather(first_uses(port, imported[slow:]), first_uses(port, others[fast:]))
                again = await _while(work.done, port, seen)
                return (*(await work), again)

        of_slow, of_fast, again = asyncio.run(meanwhile())
        group.stop()
    told = statuses(flood.exchanges)
    report.figure("the flood was told", dict(told))
    report.expect(set(told) <= {401, 503} and 401 in told, "the flood was told something else")
    lone = percentile(times(calm[0]), 0.5)
    for name, found, before in (
        ("first uses with an argon2 hash", of_slow, calm[0]),
        ("first uses with a digest of ours", of_fast, calm[1]),
        ("a key pair that was seen before", again, []),
    ):
        report.same(f"{name}: statuses", set(statuses([*found, *before])), {200})
        if before:
            report.figure(f"{name}, without the flood", in_ms(times(before)))
        report.figure(name, in_ms(times(found)))
    multiples = [part / lone for part in times(of_slow)]
    report.figure("first uses with an argon2 hash, in multiples of one without the flood", _spread(multiples))
    recorded = world.recorded()
    report.same("accepted", recorded["accepted"], 1 + 2 * slow + 2 * fast + len(again))
    refused = sum(recorded.get(outcome, 0) for outcome in ("wrong_secret", "unknown_key", "database_unavailable"))
    report.same("refused and recorded", refused, len(flood.exchanges))
    return report


def _import_pair(world: World, number: int, rounds: int) -> Keys:
    keys = world.register(f"imported-{number}")
    return have(world, keys, argon2.using(rounds=rounds).hash(keys.secret), "argon2", f"pk_{number:064}")


def _spread(values: list[float]) -> str:
    return " – ".join(f"{percentile(values, part):.1f}" for part in (0.0, 0.5, 1.0))


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--slow", type=int, default=30, help="first uses of key pairs with an argon2 hash")
    parser.add_argument("--fast", type=int, default=300, help="first uses of key pairs with a digest of ours")
    parser.add_argument("--clients", type=int, default=200, help="connections of the flood")
    parser.add_argument("--seed", type=int, default=1)
    return run_proof("hash_flood", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
