"""`python -m proofs.load.revocation`: a revoked key pair ends at once in its process, within a second in others.

Four server processes remember a pair and use it without a pause, with refusals in the background. Another process
cuts it, as `octy keys revoke` or a regeneration after a leak does; measured is how long after the commit each server
process still said 200. Then one of the servers cuts a pair itself. The processes' wall clocks jump by days meanwhile.
"""

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from support.until import until_async
from support.world import Keys, World

from octy_middleware import Database
from octy_worker.staff import key_orders
from proofs.load.databases import add_database_option, chosen_databases, fresh_world
from proofs.load.http_clients import Connection, Exchange, keep_asking
from proofs.load.report import Report, conclude, percentile
from proofs.load.servers import LOAD_APP, Server, serving

ADAPTERS = ("starlette", "starlette", "flask", "flask")
LIMIT = 1.0  # seconds: invariant 4
_USUAL = 0.4  # seconds: the feed is read four times a second
CONNECTIONS = 2  # to each process
_WARM = 20  # answers of each process before the pair is cut
_WATCH = 0.5  # seconds after the last process's first 401 in which no 200 may come back
_PATIENCE = 10.0
_PAUSE = 0.002
_DAY = 86_400.0


def cut(url: str, pipe: Pipe) -> None:
    """Cut the pairs that are asked for, in a process of its own, and answer when the commit was done."""
    database = Database(url)
    while (order := pipe.recv()) is not None:
        way, keys = order
        WAYS[way](database, keys)
        pipe.send(time.monotonic())
    database.close()


def _revoke(database: Database, keys: Keys) -> None:
    key_orders.revoke(database, keys.public_key, actor="staff", reason="under load", now=time.time())


def _regenerate(database: Database, keys: Keys) -> None:
    order = {"actor": "staff", "reason": "under load", "leaked": True}
    key_orders.regenerate(database, keys.reference, **order, now=time.time())


WAYS: dict[str, Callable[[Database, Keys], None]] = {"revoked": _revoke, "regenerated": _regenerate}


@dataclass(frozen=True)
class Stop:
    """When one process stopped accepting: its last 200, in seconds after the cut, and what came after the first 401."""

    last: float
    returned: int

    @classmethod
    def of(cls, shots: Sequence[Exchange], cut_at: float) -> "Stop":
        last = max(shot.answered for shot in shots if shot.status == 200)
        first = min(shot.answered for shot in shots if shot.status == 401)
        return cls(last - cut_at, sum(shot.status == 200 and shot.sent > first for shot in shots))


class _Users:
    """The pair's owner: connections to each server that use it until told."""

    def __init__(self, servers: Sequence[Server], keys: Keys, connections: int) -> None:
        self.shots: list[list[Exchange]] = [[] for _ in servers]
        self._done = False
        self._tasks = [
            asyncio.create_task(keep_asking(server.port, keys.basic(), some, lambda: self._done, pause=_PAUSE))
            for server, some in zip(servers, self.shots, strict=True)
            for _ in range(connections)
        ]

    def count(self, status: int) -> list[int]:
        return [sum(shot.status == status for shot in some) for some in self.shots]

    async def end(self) -> None:
        self._done = True
        await asyncio.gather(*self._tasks)


async def elsewhere(servers: Sequence[Server], keys: Keys, admin: Keys, order: Callable[[], float]) -> list[Stop]:
    """Use a pair everywhere, let another process cut it, and return when each server stopped."""
    users = _Users(servers, keys, CONNECTIONS)
    await until_async(lambda: min(users.count(200)) >= _WARM, _PATIENCE)
    for server, days in zip(servers, (1, -1, 400, -400), strict=True):
        await _call(server, admin, f"/jump?of={days * _DAY}")
    cut_at = await asyncio.to_thread(order)
    await until_async(lambda: min(users.count(401)) > 0, _PATIENCE)
    await asyncio.sleep(_WATCH)
    await users.end()
    for server in servers:
        await _call(server, admin, "/jump?of=0")
    return [Stop.of(some, cut_at) for some in users.shots]


async def here(server: Server, keys: Keys, admin: Keys) -> Stop:
    """Have a server cut the pair itself, by a route of its app; count 200s to what was sent after its answer."""
    users = _Users([server], keys, 4 * CONNECTIONS)
    await until_async(lambda: users.count(200)[0] >= _WARM, _PATIENCE)
    done = await _call(server, admin, f"/revoke?of={keys.public_key}")
    await until_async(lambda: users.count(401)[0] >= 8 * CONNECTIONS, _PATIENCE)
    await users.end()
    [shots] = users.shots
    late = [shot for shot in shots if shot.sent > done.answered]
    return Stop(
        max(shot.answered for shot in shots if shot.status == 200) - done.answered,
        sum(shot.status != 401 for shot in late),
    )


async def _call(server: Server, admin: Keys, path: str) -> Exchange:
    connection = Connection(server.port)
    shot = await connection.ask(admin.basic(), method="POST", path=path)
    connection.close()
    if shot.status != 200:
        raise RuntimeError(f"{path} was answered {shot.status}: {shot.body!r}")
    return shot


class Rig:
    """Four servers on one database, refusals in the background, and a process that cuts pairs."""

    def __init__(self, world: World, servers: Sequence[Server], pipe: Pipe) -> None:
        self._world = world
        self._servers = servers
        self._pipe = pipe
        self._number = 0
        self._admin = world.register("admin")
        self._attacked = world.register("attacked")
        self.refused: list[Exchange] = []

    async def run(self, report: Report, rounds: int) -> None:
        done = False
        attack = [
            keep_asking(server.port, self._attacked.basic("sk_wrong"), self.refused, lambda: done, pause=_PAUSE)
            for server in self._servers
        ]
        background = asyncio.gather(*attack)
        await self._elsewhere(report, rounds)
        await self._here(report, rounds)
        done = True
        await background

    async def _elsewhere(self, report: Report, rounds: int) -> None:
        stops = [stop for number in range(rounds) for stop in await self._steady(report, number)]
        times = [stop.last for stop in stops]
        report.figure("pairs cut by another process", rounds)
        report.figure(
            f"last 200 of the {len(times)} processes after the commit",
            f"median {percentile(times, 0.5) * 1e3:.0f} ms, max {max(times) * 1e3:.0f} ms",
        )
        # One slow process may be a stall; half of them being slow is a slow feed.
        report.expect(percentile(times, 0.5) < _USUAL, f"half of the processes took more than {_USUAL:g} s")
        report.same("requests accepted again after a first 401", sum(stop.returned for stop in stops), 0)

    async def _steady(self, report: Report, number: int) -> list[Stop]:
        """Cut one pair; once more if it took too long, for a machine may stall where the code does not."""
        for _ in range(2):
            stops = await self._one_cut(number)
            slowest = max(stop.last for stop in stops)
            if slowest <= LIMIT:
                return stops
            report.figure("a slow round, in seconds", [round(stop.last, 3) for stop in stops])
        report.expect(False, f"twice a cut pair was still accepted {slowest:.2f} s after its commit")
        return stops

    async def _one_cut(self, number: int) -> list[Stop]:
        way, keys = list(WAYS)[number % len(WAYS)], self._fresh()

        def order() -> float:
            self._pipe.send((way, keys))
            return float(self._pipe.recv())

        await asyncio.sleep(number * 0.618 % 1.0)  # meet the processes' feeds at every moment between two looks
        return await elsewhere(self._servers, keys, self._admin, order)

    async def _here(self, report: Report, rounds: int) -> None:
        chosen = [self._servers[number % len(self._servers)] for number in range(rounds)]
        stops = [await here(server, self._fresh(), self._admin) for server in chosen]
        report.figure("pairs cut by the server's own process", rounds)
        report.same("requests sent after that and not refused", sum(stop.returned for stop in stops), 0)

    def _fresh(self) -> Keys:
        self._number += 1
        return self._world.register(f"customer-{self._number}")


def measure(world: World, rounds: int) -> Report:
    report = Report(f"revocation, {world.store}, 4 server processes under load")
    mine, theirs = multiprocessing.Pipe()
    cutter = multiprocessing.get_context("spawn").Process(target=cut, args=(world.url, theirs), daemon=True)
    cutter.start()
    try:
        with serving(world) as fleet:
            servers = [fleet.launch(adapter, app=LOAD_APP) for adapter in ADAPTERS]
            fleet.wait(*servers)
            rig = Rig(world, servers, mine)
            asyncio.run(rig.run(report, rounds))
    finally:
        mine.send(None)
        cutter.join()
    report.same("background refusals", {shot.status for shot in rig.refused}, {401})
    report.figure("background refusals, number", len(rig.refused))
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_option(parser)
    parser.add_argument("--rounds", type=int, default=24)
    options = parser.parse_args(arguments)
    reports = []
    for store in chosen_databases(options):
        with fresh_world(store) as world:
            reports.append(measure(world, options.rounds))
    return conclude("proofs.load.revocation", reports)


if __name__ == "__main__":
    sys.exit(main())
