"""`python -m proofs.load.kills`: kill workers under load at random times; no refusal that was seen is lost.

gunicorn, which forks its workers, and uvicorn, which starts new interpreters, serve one database. PostgreSQL is
stopped at once or killed, too, now and then. A client whose connection ends without a response has seen nothing: its
attempt may be on disk or not, and so may one that was answered 503 while the database was away, whose worker was killed
before it could write it. All others must be.
"""

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

from proofs.load.databases import fresh_world, proof_parser, run_proof
from proofs.load.http_clients import TIMEOUT, UNANSWERED, UNKNOWN_KEY, Connection, Exchange, statuses, times
from proofs.load.record_checks import check_incident, check_sqlite_file
from proofs.load.report import Report, in_ms
from proofs.load.servers import ADAPTERS, LOAD_APP, Server, serving

_WORKERS = {"starlette": 3, "flask": 2}  # those that start new interpreters take longer to come back
_CLIENTS = {"wrong": 8, "right": 3, "unknown": 1}  # connections to each server, by role
_RIGHT_STATUS = {"wrong": 401, "right": 200, "unknown": 401}
_CALLS = 40  # requests of a connection at most: newly started workers get their share
_RESTART_TIMEOUT = 90.0  # seconds: uvicorn waits for the pong of a worker that was killed before it starts others
_WARM_UP = 5  # responses of each role that a server must give before it counts as working
_PAUSE, _LONG_PAUSE = 0.002, 0.02  # seconds between two requests: the machine is needed by those who come back
_OUTAGE = 1.5  # seconds at most


class KillRun:
    """All clients of all servers, what they were answered, and what is killed meanwhile."""

    def __init__(self, world: World, servers: list[Server], attacked: Keys, other: Keys, seed: int) -> None:
        self._world, self._servers = world, servers
        unknown = basic(UNKNOWN_KEY, "sk_guess")
        self._authorizations = {"wrong": attacked.basic("sk_wrong"), "right": other.basic(), "unknown": unknown}
        self._chance = random.Random(seed)
        self.exchanges: dict[tuple[str, Server], list[Exchange]] = {(r, s): [] for r in _CLIENTS for s in servers}
        self.forgotten = 0  # right key pairs that a process refused which had accepted them before
        self.killed: Counter[str] = Counter()
        self.outages: Counter[str] = Counter()
        self.recoveries: list[float] = []
        self._served: set[int] = set()  # workers that have accepted the right key pair
        self._done = False

    def of(self, role: str) -> list[Exchange]:
        return [one for (asked, _), some in self.exchanges.items() if asked == role for one in some]

    async def run(self, report: Report, kills: int, interval: float, outage_every: int, check_every: int) -> None:
        """Kill so many workers, `interval` seconds after each other on the average."""
        clients = [self._ask(role, server) for role, server in self.exchanges for _ in range(_CLIENTS[role])]
        tasks = [asyncio.create_task(client) for client in clients]
        await self._recovered()
        for number in range(1, kills + 1):
            await asyncio.sleep(self._chance.uniform(0, 2 * interval))
            await self._kill_one()
            if self._world.server is not None and number % outage_every == 0:
                await self._end_database(self._world.server)
            if self._world.database_kind == "sqlite" and number % check_every == 0:
                await asyncio.to_thread(check_sqlite_file, report, self._world)
        await self._recovered()
        self._done = True
        await asyncio.gather(*tasks)

    async def _recovered(self) -> float:
        """Return how long it takes until every server does all that it should."""
        begun, before = time.monotonic(), {place: len(some) for place, some in self.exchanges.items()}

        def working() -> bool:
            return all(
                statuses(some[before[role, server] :])[_RIGHT_STATUS[role]] >= _WARM_UP
                for (role, server), some in self.exchanges.items()
            )

        await until_async(working, TIMEOUT)
        return time.monotonic() - begun

    async def _kill_one(self) -> None:
        """Kill a worker that is in use, of either server alike: one has them back sooner than the other."""
        server = self._chance.choice(self._servers)
        await until_async(lambda: bool(self._in_use(server)), _RESTART_TIMEOUT)
        pid = self._chance.choice(self._in_use(server))
        os.kill(pid, signal.SIGKILL)
        self._served.discard(pid)
        self.killed[server.adapter] += 1

    def _in_use(self, server: Server) -> list[int]:
        return [pid for pid in server.pids() if pid in self._served]

    async def _end_database(self, database: PostgresServer) -> None:
        """End the database server in one of two ways, and start it again; each server must recover by itself."""
        way = ("stopped at once", "killed")[self.outages.total() % 2]
        self.outages[way] += 1
        await self._recovered()  # every worker that answers now knows the right key pair
        await asyncio.sleep(self._chance.uniform(0, 0.2))
        await asyncio.to_thread(database.kill if way == "killed" else lambda: database.stop("immediate"))
        await asyncio.sleep(self._chance.uniform(0, _OUTAGE))
        await asyncio.to_thread(database.start)
        self.recoveries.append(await self._recovered())

    async def _ask(self, role: str, server: Server) -> None:
        connection, known = Connection(server.port), 0
        while not self._done:
            for _ in range(self._chance.randrange(1, _CALLS)):
                one = await connection.ask(self._authorizations[role])
                self.exchanges[role, server].append(one)
                if one.status == 200:
                    known = connection.opened
                    self._served.add(int(one.body))
                elif role == "right" and one.status != UNANSWERED:
                    self.forgotten += known == connection.opened
                await asyncio.sleep(_LONG_PAUSE if one.status in (UNANSWERED, 503) else _PAUSE)
            connection.close()


def measure(
    world: World, kills: int, *, interval: float = 0.5, outage_every: int = 20, check_every: int = 50, seed: int = 1
) -> Report:
    report = Report(f"{world.database_kind}: 5 workers, {kills} killed (seed {seed})")
    attacked, other = world.register("attacked"), world.register("other")
    with serving(world) as group:
        servers = [group.launch(name, app=LOAD_APP, processes=n, preload=True) for name, n in _WORKERS.items()]
        group.wait(*servers)
        run = KillRun(world, servers, attacked, other, seed)
        begun = time.monotonic()
        asyncio.run(run.run(report, kills, interval, outage_every, check_every))
        report.figure("seconds", round(time.monotonic() - begun))
        group.stop()
    report.same("killed", run.killed.total(), kills)
    report.figure("killed by adapter", dict(run.killed))
    if world.server is not None:
        report.figure("ends of the database server", dict(run.outages))
        report.figure("working again after", in_ms(run.recoveries))
    _check_responses(report, run)
    _check_records(report, world, attacked, run)
    if world.database_kind == "sqlite":
        check_sqlite_file(report, world)
    return report


def _check_responses(report: Report, run: KillRun) -> None:
    """Every client gets the right status, or no response, or, while the database is away, 503."""
    away = {503} if run.outages else set()
    for role, right in _RIGHT_STATUS.items():
        seen, took = dict(statuses(run.of(role))), times(run.of(role))
        report.figure(f"{role}, answered", seen)
        allowed = {right, UNANSWERED} | away
        report.expect(right in seen and set(seen) <= allowed, f"{role} got {seen}, not only {allowed}")
        report.figure(f"{role} took", in_ms(took))
        report.expect(max(took) < TIMEOUT, f"{role}: a server hung")
    report.expect(statuses(run.of("wrong"))[UNANSWERED] > 0, "no connection was ever broken: nothing was shown")
    report.same("right key pairs refused by a process that knew them", run.forgotten, 0)


def _check_records(report: Report, world: World, attacked: Keys, run: KillRun) -> None:
    """What was told 503 was judged by a worker that remembered the key pair, and counts, or could not be judged."""
    recorded, away, unsure, unseen = world.recorded(), 0, 0, 0
    for role, outcome in (("wrong", "wrong_secret"), ("unknown", "unknown_key")):
        seen, count = statuses(run.of(role)), recorded.get(outcome, 0)
        # What was being committed when the database's server went away is written again, and may stand there twice.
        twice = min(seen[503], run.outages.total() * _CLIENTS[role] * len(ADAPTERS))
        report.between(f"{outcome}, recorded", count, seen[401], seen[401] + seen[UNANSWERED] + seen[503] + twice)
        away, unsure, unseen = away + seen[503], unsure + seen[UNANSWERED] + twice, unseen + count - seen[401]
    unseen += recorded.get("database_unavailable", 0)
    right = statuses(run.of("right"))
    report.between("told 503 or nothing, recorded", unseen, 0, away + right[503] + unsure + right[UNANSWERED])
    failures, at_once = world.recorded(attacked.public_key)["wrong_secret"], _CLIENTS["wrong"] * len(ADAPTERS)
    behind = failures - statuses(run.of("wrong"))[401] + at_once if run.outages else 0
    check_incident(report, world, attacked, failures, at_once=at_once, behind=behind)


@contextmanager
def durable_world(database: str) -> Iterator[World]:
    """Make a world that survives what is done to it: PostgreSQL with a durable server of its own."""
    if database == "sqlite":
        with fresh_world(database) as world:
            yield world
    else:
        with PostgresServer(durable=True) as server, fresh_world(database, server) as world:
            yield world


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="on each database")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two kills, on the average")
    parser.add_argument("--seed", type=int, default=1)
    return run_proof("kills", parser, measure, make_world=durable_world)


if __name__ == "__main__":
    sys.exit(main())
