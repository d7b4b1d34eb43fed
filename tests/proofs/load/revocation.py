"""`python -m proofs.load.revocation`: a revoked key pair ends at once in its process, within a second in others.

Four server processes remember a key pair and use it without a pause, with refusals in the background. Another process
revokes it, as `octy keys revoke` or a regeneration after a leak does; measured is how long after the commit each server
process still said 200. Then one of the servers revokes a key pair itself. The processes' wall clocks jump by days
meanwhile.
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

from support.in_session import in_session
from support.until import until_async
from support.world import Keys, World

from octy_middleware import Database
from octy_worker.staff import key_orders
from proofs.load.databases import proof_parser, run_proof
from proofs.load.http_clients import Connection, Exchange, keep_asking
from proofs.load.report import Report, percentile
from proofs.load.servers import LOAD_APP, Server, serving

SERVERS = ("starlette", "starlette", "flask", "flask")
LIMIT = 1.0  # seconds in which a revoked key pair must be refused everywhere
_USUAL = 0.4  # seconds: the feed is read four times a second
CONNECTIONS = 2  # to each process
_WARM_UP = 20  # responses of each process before the key pair is revoked
_AFTERWARDS = 0.5  # seconds after the last process's first 401 in which no 200 may come back
_TIMEOUT = 10.0
_PAUSE = 0.002
_DAY = 86_400.0


def _revoke(database: Database, keys: Keys) -> None:
    in_session(database, key_orders.revoke, keys.public_key, actor="staff", reason="under load", now=time.time())


def _regenerate(database: Database, keys: Keys) -> None:
    order = {"actor": "staff", "reason": "under load", "leaked": True}
    in_session(database, key_orders.regenerate, keys.reference, **order, now=time.time())


WAYS: tuple[Callable[[Database, Keys], None], ...] = (_revoke, _regenerate)


def run_revoker(url: str, pipe: Pipe) -> None:
    """Revoke the key pairs that are asked for, in a process of its own, and answer when the commit was done."""
    database = Database(url)
    while (order := pipe.recv()) is not None:
        way, keys = order
        WAYS[way](database, keys)
        pipe.send(time.monotonic())
    database.close()


class Acceptance(NamedTuple):
    """The last 200 of one process, in seconds after the commit, and how many 200s came after they had ended."""

    last: float
    returned: int


class _Owner:
    """The owner of a key pair: connections to each server that use it until the end."""

    def __init__(self, servers: Sequence[Server], keys: Keys, connections: int) -> None:
        self.exchanges: list[list[Exchange]] = [[] for _ in servers]
        self._done = False
        self._tasks = [
            asyncio.create_task(keep_asking(server.port, keys.basic(), some, lambda: self._done, pause=_PAUSE))
            for server, some in zip(servers, self.exchanges, strict=True)
            for _ in range(connections)
        ]

    async def has(self, status: int, count: int) -> None:
        """Return once each server has answered so often with this status."""
        await until_async(
            lambda: all(sum(e.status == status for e in some) >= count for some in self.exchanges), _TIMEOUT
        )

    async def end(self) -> None:
        self._done = True
        await asyncio.gather(*self._tasks)


async def _call(server: Server, admin: Keys, path: str) -> Exchange:
    connection = Connection(server.port)
    exchange = await connection.ask(admin.basic(), method="POST", path=path)
    connection.close()
    if exchange.status != 200:
        raise RuntimeError(f"{path} was answered {exchange.status}: {exchange.body!r}")
    return exchange


class Rounds:
    """Rounds of revocation on four servers of one database, with refusals in the background."""

    def __init__(self, world: World, servers: Sequence[Server], revoker: Pipe, report: Report) -> None:
        self._world, self._servers, self._revoker, self._report = world, servers, revoker, report
        self._customers = count(1)
        self._admin, self._attacked = world.register("admin"), world.register("attacked")
        self.refused: list[Exchange] = []

    async def run(self, rounds: int) -> None:
        done, wrong = False, self._attacked.basic("sk_wrong")
        attack = [keep_asking(s.port, wrong, self.refused, lambda: done, pause=_PAUSE) for s in self._servers]
        background = asyncio.gather(*attack)
        found = [acceptance for number in range(rounds) for acceptance in await self._revoke_elsewhere_twice(number)]
        lasts = [acceptance.last for acceptance in found]
        half = percentile(lasts, 0.5)
        self._report.figure("key pairs revoked by another process", rounds)
        figures = f"median {half * 1e3:.0f} ms, max {max(lasts) * 1e3:.0f} ms"
        self._report.figure(f"last 200 of the {len(lasts)} processes after the commit", figures)
        # One slow process may be a stall; half of them being slow is a slow feed.
        self._report.expect(half < _USUAL, f"half of the processes took more than {_USUAL:g} s")
        self._report.same("requests accepted again after a first 401", sum(one.returned for one in found), 0)
        late = [await self._revoke_here(self._servers[number % len(self._servers)]) for number in range(rounds)]
        self._report.figure("key pairs revoked by the server's own process", rounds)
        self._report.same("requests sent after that and not refused", sum(late), 0)
        done = True
        await background

    async def _revoke_elsewhere_twice(self, number: int) -> list[Acceptance]:
        """Revoke one key pair; once more if it took too long, for a machine may stall where the code does not."""
        for _ in range(2):
            found = await self._revoke_elsewhere(number)
            slowest = max(one.last for one in found)
            if slowest <= LIMIT:
                return found
            self._report.figure("a slow round, in seconds", [round(one.last, 3) for one in found])
        self._report.expect(False, f"twice a revoked key pair was still accepted {slowest:.2f} s after its commit")
        return found

    async def _revoke_elsewhere(self, number: int) -> list[Acceptance]:
        """Use a key pair everywhere, let another process revoke it, and return when each server stopped accepting."""
        keys = self._new_customer()
        await asyncio.sleep(number * 0.618 % 1.0)  # meet the processes' feeds at every moment between two reads
        owner = _Owner(self._servers, keys, CONNECTIONS)
        await owner.has(200, _WARM_UP)
        for server, days in zip(self._servers, (1, -1, 400, -400), strict=True):
            await _call(server, self._admin, f"/jump?of={days * _DAY}")
        self._revoker.send((number % len(WAYS), keys))
        revoked_at = float(await asyncio.to_thread(self._revoker.recv))
        await owner.has(401, 1)
        await asyncio.sleep(_AFTERWARDS)
        await owner.end()
        for server in self._servers:
            await _call(server, self._admin, "/jump?of=0")
        acceptances = []
        for some in owner.exchanges:
            first_refusal = min(e.answered for e in some if e.status == 401)
            last = max(e.answered for e in some if e.status == 200)
            returned = sum(e.status == 200 and e.sent > first_refusal for e in some)
            acceptances.append(Acceptance(last - revoked_at, returned))
        return acceptances

    async def _revoke_here(self, server: Server) -> int:
        """Have a server revoke a key pair itself; return how much that was sent after its response was not refused."""
        keys = self._new_customer()
        owner = _Owner([server], keys, 4 * CONNECTIONS)
        await owner.has(200, _WARM_UP)
        done = await _call(server, self._admin, f"/revoke?of={keys.public_key}")
        await owner.has(401, 8 * CONNECTIONS)
        await owner.end()
        return sum(e.status != 401 for e in owner.exchanges[0] if e.sent > done.answered)

    def _new_customer(self) -> Keys:
        return self._world.register(f"customer-{next(self._customers)}")


def measure(world: World, rounds: int) -> Report:
    report = Report(f"revocation, {world.database_kind}, {len(SERVERS)} server processes under load")
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run_revoker, args=(world.url, theirs), daemon=True)
    process.start()
    try:
        with serving(world) as group:
            servers = [group.launch(adapter, app=LOAD_APP) for adapter in SERVERS]
            group.wait(*servers)
            all_rounds = Rounds(world, servers, mine, report)
            asyncio.run(all_rounds.run(rounds))
    finally:
        mine.send(None)
        process.join()
    report.same("background refusals", {one.status for one in all_rounds.refused}, {401})
    report.figure("background refusals, number", len(all_rounds.refused))
    return report


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=24)
    return run_proof("revocation", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
