"""One outage under load: everybody who asks meanwhile, from a working service to a working service."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from math import inf

from support.until import until_async
from support.world import Keys, basic

from proofs.load.http_clients import UNKNOWN_KEY, Connection, Exchange, keep_asking
from proofs.load.servers import Server

RECOVERY_TIMEOUT = 10.0  # seconds in which the service must be back
_HASTY, _HASTY_TIMEOUT = 4, 0.1  # clients with a short timeout, in seconds
RIGHT_STATUS = {"remembered": 200, "fresh": 200, "wrong": 401, "unknown": 401, "none": 401}
"""By role: how a request is answered while the database is available."""


@dataclass(frozen=True)
class Limits:
    """In seconds: the grace period, how long a refusal waits for its commit, how long the database is away.

    `attackers` is how many connections send wrong secrets.
    """

    grace: float
    commit_timeout: float
    length: float
    attackers: int = 4

    def settings(self) -> dict[str, str]:
        """Return the server's settings.

        What is answered 503 beyond half of the queue is given up. A fast machine's clients fill the default's half in
        seconds, and here every request is accounted for.
        """
        times = {"OCTY_GRACE_PERIOD": str(self.grace), "OCTY_COMMIT_TIMEOUT": str(self.commit_timeout)}
        return {**times, "OCTY_QUEUE_LIMIT": "1000000"}


@dataclass(frozen=True)
class KeyPairs:
    """Those in use: one that the server remembers, one it has not seen, one under attack, one of hasty clients."""

    remembered: Keys
    fresh: Keys
    attacked: Keys
    other: Keys


class OutageRun:
    """One outage, from a working service to a working service. `exchanges` are by role, as in RIGHT_STATUS."""

    def __init__(self, key_pairs: KeyPairs, server: Server) -> None:
        right = {"remembered": key_pairs.remembered.basic(), "fresh": key_pairs.fresh.basic()}
        wrong = {"wrong": key_pairs.attacked.basic("sk_wrong"), "unknown": basic(UNKNOWN_KEY, "sk_guess")}
        self._authorizations = {**right, **wrong, "none": ""}
        self._hasty = key_pairs.other.basic("sk_wrong")
        self.exchanges: dict[str, list[Exchange]] = {}
        self._server = server
        self._done = False
        self.coming_at = self.begun = self.ended = 0.0
        self.given_up = 0  # requests whose clients did not wait
        self.threads = 0, 0  # of the server, at the beginning and at the end of the outage

    async def run(self, outage: AbstractContextManager[None], limits: Limits) -> None:
        tasks = [self._ask("remembered"), self._ask("none"), *(self._ask("wrong") for _ in range(limits.attackers))]
        await self._until_right({"wrong": 30, "remembered": 10, "none": 5})
        self.coming_at = time.monotonic()
        async with _in_a_thread(outage):
            self.begun, before = time.monotonic(), self._server.threads()
            tasks += [self._ask("fresh"), self._ask("unknown"), *(self._give_up() for _ in range(_HASTY))]
            await asyncio.sleep(limits.length)
            self.ended, self.threads = time.monotonic(), (before, self._server.threads())
        await self._until_right(dict.fromkeys(RIGHT_STATUS, 5))
        self._done = True
        await asyncio.gather(*tasks)

    def _ask(self, role: str) -> "asyncio.Task[None]":
        some = self.exchanges.setdefault(role, [])
        asking = keep_asking(self._server.port, self._authorizations[role], some, lambda: self._done, pause=0.01)
        return asyncio.create_task(asking)

    def _give_up(self) -> "asyncio.Task[None]":
        """Ask and go away, again and again during the outage: nothing may be left of it in the server."""

        async def ask_and_close() -> None:
            while not self.ended:
                connection, self.given_up = Connection(self._server.port), self.given_up + 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.ask(self._hasty), _HASTY_TIMEOUT)
                connection.close()

        return asyncio.create_task(ask_and_close())

    async def _until_right(self, wanted: dict[str, int]) -> None:
        """Wait until each role had so many right responses to what it sent since the outage, if there was one."""
        await until_async(lambda: all(len(self.right(role)) >= n for role, n in wanted.items()), RECOVERY_TIMEOUT)

    def all(self, status: int | None = None) -> list[Exchange]:
        return [one for some in self.exchanges.values() for one in some if status in (None, one.status)]

    def right(self, role: str) -> list[Exchange]:
        """Return the right responses to what was sent after the outage."""
        some = self.exchanges.get(role, [])
        return [one for one in some if one.sent > self.ended and one.status == RIGHT_STATUS[role]]

    def during(self, role: str) -> list[Exchange]:
        """Return what was asked and answered during the outage."""
        return [one for one in self.exchanges.get(role, []) if one.sent > self.begun and one.answered < self.ended]

    def last_accepted(self) -> float:
        """Return when the last of the remembered key pair's requests was sent that was accepted before the end."""
        return max(o.sent for o in self.exchanges["remembered"] if o.status == 200 and o.answered < self.ended)

    def first_refused(self) -> float:
        """Return when the remembered key pair was answered 503 for the first time."""
        return min((one.answered for one in self.exchanges["remembered"] if one.status == 503), default=inf)

    def verified_by_memory(self, role: str) -> tuple[int, int]:
        """Return how many 503s of a remembered key pair's wrong secret were verified, at least and at most.

        Memory judges them as long as it accepts the right secret, and not from its first refusal to the end.
        """
        refused = [one for one in self.exchanges[role] if one.status == 503]
        last, first = self.last_accepted(), self.first_refused()
        unverified = sum(one.sent > first and one.answered < self.ended for one in refused)
        return sum(one.sent > self.begun and one.answered < last for one in refused), len(refused) - unverified

    def verified_by_database(self, role: str) -> tuple[int, int]:
        """Return the same of what memory does not know: only while the outage began or ended."""
        refused = sum(one.status == 503 for one in self.exchanges[role])
        return 0, refused - sum(one.status == 503 for one in self.during(role))


@asynccontextmanager
async def _in_a_thread(outage: AbstractContextManager[None]) -> AsyncIterator[None]:
    """Do and undo it beside the clients, which must not wait for it; in one thread, as SQLite asks."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        await loop.run_in_executor(thread, outage.__enter__)
        try:
            yield
        finally:
            await loop.run_in_executor(thread, outage.__exit__, None, None, None)
