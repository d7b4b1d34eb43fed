"""One outage under load: everybody who asks meanwhile, from a working service to a working service.

Here: who asks for what, when the store goes and comes back, and how each request was answered. Not here: how it should
have been answered (`outages`), what is done to the store (`stores`, `database_servers`).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf

from support.until import until_async
from support.world import Keys, World, basic

from proofs.load.http_clients import Connection, Exchange, keep_asking
from proofs.load.kinds import Kind
from proofs.load.servers import Server

RECOVERY_TIMEOUT = 10.0  # seconds in which the service must be back
_IMPATIENT, _MOMENT = 4, 0.1  # clients who give up, and after how many seconds
_STRANGER = basic("pk_" + "0" * 28, "sk_guess")


@dataclass(frozen=True)
class Limits:
    """In seconds: how long memory is trusted, how long a refusal waits for its commit, how long the store is away.

    `attackers` is how many connections send wrong secrets.
    """

    grace: float
    commit_timeout: float
    length: float
    attackers: int = 4

    def settings(self) -> dict[str, str]:
        """Return the server's settings.

        What is answered 503 beyond half of the queue is given up. A fast machine's crowd fills the default's half in
        seconds, and these books are kept to the last request.
        """
        times = {"OCTY_GRACE_PERIOD": str(self.grace), "OCTY_COMMIT_TIMEOUT": str(self.commit_timeout)}
        return {**times, "OCTY_QUEUE_LIMIT": "1000000"}

    def options(self) -> list[str]:
        """Return them as this command takes them."""
        times = {"grace": self.grace, "commit-timeout": self.commit_timeout, "length": self.length}
        return [f"--{name}={value}" for name, value in {**times, "attackers": self.attackers}.items()]


@dataclass
class Requests:
    """Everybody who asks, and how they were answered: by role."""

    asks: dict[str, str]
    impatient: str  # what those send who don't wait for an answer
    shots: dict[str, list[Exchange]] = field(default_factory=dict)

    @classmethod
    def of(cls, remembered: Keys, fresh: Keys, attacked: Keys, other: Keys) -> "Requests":
        right = {"remembered": remembered.basic(), "fresh": fresh.basic()}
        wrong = {"wrong": attacked.basic("sk_wrong"), "unknown": _STRANGER, "none": ""}
        return cls({**right, **wrong}, other.basic("sk_wrong"))

    def everyone(self, status: int | None = None) -> list[Exchange]:
        return [shot for some in self.shots.values() for shot in some if status in (None, shot.status)]


WELL = {"remembered": 200, "fresh": 200, "wrong": 401, "unknown": 401, "none": 401}


class OutageRun:
    """One outage, from a working service to a working service."""

    def __init__(self, crowd: Requests, server: Server) -> None:
        self.crowd = crowd
        self._server = server
        self._done = False
        self.came = self.begun = self.ended = 0.0
        self.given_up = 0  # requests that nobody waited for
        self.threads = 0, 0  # of the server, at the beginning and at the end of the outage

    async def run(self, world: World, kind: Kind, limits: Limits) -> None:
        tasks = [self._ask("remembered"), self._ask("none"), *(self._ask("wrong") for _ in range(limits.attackers))]
        await self._until({"wrong": 30, "remembered": 10, "none": 5})
        self.came = time.monotonic()
        async with _in_a_thread(kind, world, self._server):
            self.begun, before = time.monotonic(), self._server.threads()
            tasks += [self._ask("fresh"), self._ask("unknown"), *(self._give_up() for _ in range(_IMPATIENT))]
            await asyncio.sleep(limits.length)
            self.ended, self.threads = time.monotonic(), (before, self._server.threads())
        await self._until(dict.fromkeys(WELL, 5))
        self._done = True
        await asyncio.gather(*tasks)

    def _ask(self, role: str) -> "asyncio.Task[None]":
        shots = self.crowd.shots.setdefault(role, [])
        asking = keep_asking(self._server.port, self.crowd.asks[role], shots, lambda: self._done, pause=0.01)
        return asyncio.create_task(asking)

    def _give_up(self) -> "asyncio.Task[None]":
        """Ask and go away, again and again while the store is away: nothing may be left of it in the server."""

        async def go() -> None:
            while not self.ended:
                connection, self.given_up = Connection(self._server.port), self.given_up + 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.ask(self.crowd.impatient), _MOMENT)
                connection.close()

        return asyncio.create_task(go())

    async def _until(self, wanted: dict[str, int]) -> None:
        """Wait until each role had so many right answers to what it sent since the outage, if there was one."""
        await until_async(
            lambda: all(len(self.well(role)) >= count for role, count in wanted.items()), RECOVERY_TIMEOUT
        )

    def well(self, role: str) -> list[Exchange]:
        shots = self.crowd.shots.get(role, [])
        return [shot for shot in shots if shot.sent > self.ended and shot.status == WELL[role]]

    def last_accepted(self) -> float:
        """Return when the last of the remembered pair's requests was sent that passed before the end."""
        shots = self.crowd.shots["remembered"]
        return max(shot.sent for shot in shots if shot.status == 200 and shot.answered < self.ended)

    def first_refused(self) -> float:
        """Return when the remembered pair was answered 503 for the first time."""
        return min((shot.answered for shot in self.crowd.shots["remembered"] if shot.status == 503), default=inf)

    def judged_by_memory(self, role: str) -> tuple[int, int]:
        """Return how many 503s of a remembered pair's wrong secret were judged, at least and at most.

        Memory judges them as long as it accepts the right secret, and not from its first refusal to the end.
        """
        refused = [shot for shot in self.crowd.shots[role] if shot.status == 503]
        last, first = self.last_accepted(), self.first_refused()
        judged = sum(shot.sent > self.begun and shot.answered < last for shot in refused)
        unjudged = sum(shot.sent > first and shot.answered < self.ended for shot in refused)
        return judged, len(refused) - unjudged

    def judged_by_store(self, role: str) -> tuple[int, int]:
        """Return the same of what memory does not know: only while the store came or went."""
        refused = [shot for shot in self.crowd.shots[role] if shot.status == 503]
        return 0, len(refused) - sum(shot.status == 503 for shot in self.during(role))

    def during(self, role: str) -> list[Exchange]:
        """Return what was asked and answered while the store was away."""
        return [
            shot for shot in self.crowd.shots.get(role, []) if shot.sent > self.begun and shot.answered < self.ended
        ]


@asynccontextmanager
async def _in_a_thread(kind: Kind, world: World, server: Server) -> AsyncIterator[None]:
    """Do and undo it beside the clients, which must not wait for it; in one thread, as SQLite asks."""
    loop, outage = asyncio.get_running_loop(), kind.outage(world, server)
    with ThreadPoolExecutor(1) as thread:
        await loop.run_in_executor(thread, outage.__enter__)
        try:
            yield
        finally:
            await loop.run_in_executor(thread, outage.__exit__, None, None, None)
