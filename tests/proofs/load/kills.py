"""`python -m proofs.load.kills`: kill workers under load at random times; no refusal that was seen is lost.

gunicorn, which forks its workers, and uvicorn, which starts them anew, serve one database. On PostgreSQL its server is
stopped at once or killed, too, now and then. A client whose connection ends without an answer has seen nothing: its
attempt may be on disk or not, and so may one that was answered 503 while the database was away, whose worker was killed
before it could write it. All others must be.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from support.postgres import PostgresServer
from support.until import until_async
from support.world import Keys, World, basic

from proofs.load.databases import add_database_option, chosen_databases, fresh_world
from proofs.load.http_clients import TIMEOUT, UNANSWERED, Connection, Exchange, statuses, times
from proofs.load.record_checks import check_incident, check_sqlite_file
from proofs.load.report import Report, conclude, in_ms
from proofs.load.servers import ADAPTERS, LOAD_APP, Server, serving

_WORKERS = {"starlette": 3, "flask": 2}  # those that start anew take longer to come back
_ATTACKERS, _OWNERS = 8, 3  # connections to each server
_CALLS = 40  # requests of a connection at most: newly started workers get their share
_RESTART = 90.0  # seconds for a worker: uvicorn waits for the pong of one that was killed before it starts others
_WARM = 5  # answers of each kind that a server must give before it counts as working
_PAUSE, _REST = 0.002, 0.02  # seconds between two requests: the machine is needed by those who come back
_OUTAGE = 1.5  # seconds at most
_STRANGER = basic("pk_" + "0" * 28, "sk_guess")


class KillRun:
    """All clients of all servers, and what they were answered."""

    def __init__(self, servers: list[Server], attacked: Keys, other: Keys, seed: int) -> None:
        self._servers = servers
        self._asks = {"wrong": attacked.basic("sk_wrong"), "right": other.basic(), "unknown": _STRANGER}
        self.chance = random.Random(seed)
        self.shots: dict[tuple[str, Server], list[Exchange]] = {(r, s): [] for r in self._asks for s in servers}
        self.forgotten = 0  # right pairs that a process refused which had accepted them before
        self.killed: Counter[str] = Counter()
        self._served: set[int] = set()  # workers that have accepted the right pair
        self._done = False

    def of(self, role: str) -> list[Exchange]:
        return [shot for (asked, _), shots in self.shots.items() if asked == role for shot in shots]

    async def lay(self, events: "Events", kills: int, pace: float) -> None:
        """Kill so many workers, `pace` seconds after each other on the average."""
        numbers = {"wrong": _ATTACKERS, "right": _OWNERS, "unknown": 1}
        tasks = [
            asyncio.create_task(self._ask(role, server)) for role, server in self.shots for _ in range(numbers[role])
        ]
        await self.working()
        for number in range(1, kills + 1):
            await asyncio.sleep(self.chance.uniform(0, 2 * pace))
            await self._kill_one()
            await events.after(number, self)
        await self.working()
        self._done = True
        await asyncio.gather(*tasks)

    async def working(self) -> float:
        """Return how long it takes until every server does all that it should."""
        begun, before = time.monotonic(), {durable_world: len(shots) for durable_world, shots in self.shots.items()}
        right = {"wrong": 401, "right": 200, "unknown": 401}

        def served() -> bool:
            return all(
                statuses(shots[before[role, server] :])[right[role]] >= _WARM
                for (role, server), shots in self.shots.items()
            )

        await until_async(served, TIMEOUT)
        return time.monotonic() - begun

    async def _kill_one(self) -> None:
        """Kill a worker that is in use, of either server alike: one has them back sooner than the other."""
        server = self.chance.choice(self._servers)
        await until_async(lambda: bool(self._in_use(server)), _RESTART)
        pid = self.chance.choice(self._in_use(server))
        os.kill(pid, signal.SIGKILL)
        self._served.discard(pid)
        self.killed[server.adapter] += 1

    def _in_use(self, server: Server) -> list[int]:
        return [pid for pid in server.pids() if pid in self._served]

    async def _ask(self, role: str, server: Server) -> None:
        connection, known = Connection(server.port), 0
        while not self._done:
            for _ in range(self.chance.randrange(1, _CALLS)):
                shot = await connection.ask(self._asks[role])
                self.shots[role, server].append(shot)
                if shot.status == 200:
                    known = connection.opened
                    self._served.add(int(shot.body))
                elif role == "right" and shot.status != UNANSWERED:
                    self.forgotten += known == connection.opened
                await asyncio.sleep(_REST if shot.status in (UNANSWERED, 503) else _PAUSE)
            connection.close()


class Events:
    """What happens beside the kills: the database's server goes away, and files are looked at."""

    def __init__(self, world: World, report: Report, *, every: int, check_every: int) -> None:
        self._world = world
        self._report = report
        self._every = every
        self._check_every = check_every
        self.outages: Counter[str] = Counter()
        self.recoveries: list[float] = []

    async def after(self, number: int, siege: KillRun) -> None:
        if self._world.server is not None and number % self._every == 0:
            await self._outage(self._world.server, siege)
        if self._world.store == "sqlite" and number % self._check_every == 0:
            await asyncio.to_thread(check_sqlite_file, self._report, self._world)

    async def _outage(self, server: PostgresServer, siege: KillRun) -> None:
        """End the database server in one of two rude ways, and start it again; each server must recover by itself."""
        way = ("stopped at once", "killed")[self.outages.total() % 2]
        self.outages[way] += 1
        await siege.working()  # every worker that answers now knows the right pair
        await asyncio.sleep(siege.chance.uniform(0, 0.2))
        await asyncio.to_thread(server.kill if way == "killed" else lambda: server.stop("immediate"))
        await asyncio.sleep(siege.chance.uniform(0, _OUTAGE))
        await asyncio.to_thread(server.start)
        self.recoveries.append(await siege.working())


def measure(
    world: World, kills: int, *, pace: float = 0.5, every: int = 20, check_every: int = 50, seed: int = 1
) -> Report:
    report = Report(f"{world.store}: 5 workers, {kills} killed (seed {seed})")
    attacked, other = world.register("attacked"), world.register("other")
    events = Events(world, report, every=every, check_every=check_every)
    with serving(world) as fleet:
        servers = [
            fleet.launch(adapter, app=LOAD_APP, processes=number, preload=True) for adapter, number in _WORKERS.items()
        ]
        fleet.wait(*servers)
        siege = KillRun(servers, attacked, other, seed)
        begun = time.monotonic()
        asyncio.run(siege.lay(events, kills, pace))
        report.figure("seconds", round(time.monotonic() - begun))
        fleet.stop()
    report.same("killed", siege.killed.total(), kills)
    report.figure("killed by adapter", dict(siege.killed))
    if world.server is not None:
        report.figure("ends of the database server", dict(events.outages))
        report.figure("working again after", in_ms(events.recoveries))
    _check_answers(report, siege, lost=events.outages.total())
    _check_books(report, world, attacked, siege, lost=events.outages.total())
    if world.store == "sqlite":
        check_sqlite_file(report, world)
    return report


def _check_answers(report: Report, siege: KillRun, lost: int) -> None:
    """Nobody is told anything but the truth, or nothing, or, while the database is away, to come again."""
    away = {503} if lost else set()
    for role, right in (("wrong", 401), ("unknown", 401), ("right", 200)):
        shots = siege.of(role)
        seen = dict(statuses(shots))
        report.figure(f"{role}, answered", seen)
        allowed = {right, UNANSWERED} | away
        report.expect(right in seen and set(seen) <= allowed, f"{role} got {seen}, not only {allowed}")
        report.figure(f"{role} took", in_ms(times(shots)))
        report.expect(max(times(shots)) < TIMEOUT, f"{role}: a server hung")
    report.expect(statuses(siege.of("wrong"))[UNANSWERED] > 0, "no connection was ever broken: nothing was shown")
    report.same("right pairs refused by a process that knew them", siege.forgotten, 0)


def _check_books(report: Report, world: World, attacked: Keys, siege: KillRun, lost: int) -> None:
    """What was told 503 was judged by a worker that remembered the pair, and counts, or could not be judged."""
    books, away, unsure, unseen = world.recorded(), 0, 0, 0
    for role, outcome, connections in (("wrong", "wrong_secret", _ATTACKERS), ("unknown", "unknown_key", 1)):
        seen = statuses(siege.of(role))
        # What was being committed when the database's server went away is written again, and may stand there twice.
        twice = min(seen[503], lost * connections * len(ADAPTERS))
        recorded = books.get(outcome, 0)
        report.between(f"{outcome}, recorded", recorded, seen[401], seen[401] + seen[UNANSWERED] + seen[503] + twice)
        away, unsure, unseen = away + seen[503], unsure + seen[UNANSWERED] + twice, unseen + recorded - seen[401]
    unseen += books.get("database_unavailable", 0)
    away += statuses(siege.of("right"))[503]
    unsure += statuses(siege.of("right"))[UNANSWERED]
    report.between("told 503 or nothing, recorded", unseen, 0, away + unsure)
    failures = world.recorded(attacked.public_key)["wrong_secret"]
    behind = failures - statuses(siege.of("wrong"))[401] + _ATTACKERS * len(ADAPTERS)
    check_incident(report, world, attacked, failures, at_once=_ATTACKERS * len(ADAPTERS), behind=behind if lost else 0)


@contextmanager
def durable_world(store: str) -> Iterator[World]:
    """Make a world that survives what is done to it: PostgreSQL with a durable server of its own."""
    if store == "sqlite":
        with fresh_world(store) as world:
            yield world
        return
    with PostgresServer(durable=True) as server, fresh_world(store, server) as world:
        yield world


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_option(parser)
    parser.add_argument("--kills", type=int, default=200, help="on each store")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds between two kills, on the average")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    reports = []
    for store in chosen_databases(options):
        with durable_world(store) as world:
            reports.append(measure(world, options.kills, pace=options.pace, seed=options.seed))
    return conclude("proofs.load.kills", reports)


if __name__ == "__main__":
    sys.exit(main())
