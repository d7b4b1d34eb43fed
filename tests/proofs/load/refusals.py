"""`python -m proofs.load.refusals`: wrong secrets for one key from 64 connections, while right key pairs are used.

First another account's key pair is used, so that nothing ends the streak: it must be exact, with one incident, told at
doublings. Then the attacked key's own pair is used. Counted 401s must equal recorded ones to the last, also with
several server processes.
"""

import asyncio
import sys
import time
from dataclasses import dataclass

from support.world import Keys, World

from proofs.load.databases import proof_parser, run_proof
from proofs.load.http_clients import Connection, Exchange, keep_asking, statuses, times
from proofs.load.record_checks import check_incident
from proofs.load.report import Report, in_ms
from proofs.load.servers import ADAPTERS, Server, serving

CONNECTIONS = 64
DETAILS = 60  # attempts kept a key and minute
VARIANTS = [{"adapter": adapter, "processes": processes} for processes in (1, 2) for adapter in ADAPTERS]


@dataclass(frozen=True)
class Flood:
    """One phase: what the attackers and the owner of the right key pair were answered."""

    wrong: list[Exchange]
    right: list[Exchange]
    seconds: float


class _Quota:
    """Exactly so many requests among all connections, so that every response is one of them."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.pending = CONNECTIONS

    def used_up(self) -> bool:
        """Take one; return whether there was none left."""
        self._left -= 1
        if self._left < 0:
            self.pending -= 1
        return self._left < 0


async def alone(port: int, keys: Keys, requests: int) -> list[Exchange]:
    """Use a right key pair while nothing else goes on."""
    connection = Connection(port)
    exchanges = [await connection.ask(keys.basic()) for _ in range(requests)]
    connection.close()
    return exchanges


async def flood(port: int, attacked: Keys, used: Keys, refusals: int) -> Flood:
    """Send so many wrong secrets for one key pair, and use the other as long as that takes."""
    quota, wrong, right, begun = _Quota(refusals), [], [], time.monotonic()
    attackers = [keep_asking(port, attacked.basic("sk_wrong"), wrong, quota.used_up) for _ in range(CONNECTIONS)]
    owner = keep_asking(port, used.basic(), right, lambda: quota.pending == 0)
    await asyncio.gather(owner, *attackers)
    return Flood(wrong, right, time.monotonic() - begun)


def measure(world: World, adapter: str, processes: int, refusals: int) -> Report:
    """Run all phases against one server and compare what clients saw with what is on disk."""
    report = Report(f"{world.database_kind}, {adapter}, server processes: {processes}, {refusals} refusals twice")
    attacked, other = world.register("attacked"), world.register("other")
    with serving(world) as group:
        server = group.start(adapter, processes=processes)
        calm = asyncio.run(alone(server.port, other, max(refusals // 40, 20)))
        first = _phase(report, "another account's pair", server, attacked, other, refusals=refusals)
        # Nothing but failures has happened to this key: every figure is known.
        report.same("recorded", world.recorded(attacked.public_key), {"wrong_secret": refusals})
        check_incident(report, world, attacked, refusals, at_once=CONNECTIONS)
        second = _phase(report, "its own pair", server, attacked, attacked, refusals=refusals)
        group.stop()
    report.figure("right pair without the flood", in_ms(times(calm)))
    seen = {"wrong_secret": len(first.wrong) + len(second.wrong), "accepted": len(second.right)}
    report.same("recorded for the attacked key", world.recorded(attacked.public_key), seen)
    accepted = len(calm) + len(first.right)
    report.same("recorded for the other key", world.recorded(other.public_key), {"accepted": accepted})
    [(open_incidents,)] = world.rows("SELECT COUNT(*) FROM incident WHERE closed_at IS NULL")
    report.same("incidents open in the end", open_incidents, 1)
    _check_rows(report, world, attacked)
    return report


def _phase(report: Report, whose: str, server: Server, attacked: Keys, used: Keys, *, refusals: int) -> Flood:
    seen = asyncio.run(flood(server.port, attacked, used, refusals))
    report.same(f"wrong secret beside {whose}", dict(statuses(seen.wrong)), {401: refusals})
    report.figure("refusals a second", round(refusals / seen.seconds))
    report.figure("refusal", in_ms(times(seen.wrong)))
    report.same(f"{whose} during the flood", dict(statuses(seen.right)), {200: len(seen.right)})
    report.expect(len(seen.right) > 0, f"{whose} was never used")
    report.figure(f"{whose} during the flood took", in_ms(times(seen.right)))
    return seen


def _check_rows(report: Report, world: World, attacked: Keys) -> None:
    """Floods make rows by the minute, not by the request."""
    by_minute = "SELECT COUNT(*) AS n FROM attempt WHERE public_key = :key GROUP BY minute"
    [(most,)] = world.rows(f"SELECT MAX(n) FROM ({by_minute}) AS m", key=attacked.public_key)
    report.same("details kept in the fullest minute", most, DETAILS)
    [(rows, minutes)] = world.rows("SELECT COUNT(*), COUNT(DISTINCT minute) FROM outcome_minute")
    report.figure("counter rows", rows)
    report.expect(rows <= minutes * 3, f"{rows} counter rows in {minutes} minutes")


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--refusals", type=int, default=20_000, help="in each of the two phases")
    return run_proof("refusals", parser, measure, variants=VARIANTS)


if __name__ == "__main__":
    sys.exit(main())
