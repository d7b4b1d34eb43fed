"""`python -m load.kills`: gunicorn's workers are killed one after the other under load; no refusal seen is lost.

A client whose connection ends without an answer has seen nothing: its attempt may be on disk or not. All others
must be.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from support.world import Keys, World

from load.clients import UNANSWERED, Shot, keep_asking, statuses, until
from load.report import Report, conclude
from load.servers import Server, serving

_ATTACKERS = 16
_PATIENCE = 30.0


async def killing(server: Server, attacked: Keys, other: Keys, kills: int, answers: int) -> tuple[list[Shot], ...]:
    """Kill a worker after every so many 401s, and go on until so many came after the last one."""
    wrong: list[Shot] = []
    right: list[Shot] = []
    done = False
    tasks = [
        asyncio.create_task(keep_asking(server.port, authorization, shots, lambda: done))
        for authorization, shots in [(attacked.basic("sk_wrong"), wrong)] * _ATTACKERS + [(other.basic(), right)]
    ]
    for number in range(kills + 1):
        wanted = answers * (number + 1)
        await until(lambda wanted=wanted: statuses(wrong)[401] >= wanted, _PATIENCE)
        if number < kills:
            os.kill(server.pids()[0], signal.SIGKILL)  # the oldest: each dies in its turn
    done = True
    await asyncio.gather(*tasks)
    return wrong, right


def measure(world: World, kills: int, answers: int) -> Report:
    report = Report(f"flask, 2 workers, {kills} killed, one after every {answers} refusals")
    attacked, other = world.register("attacked"), world.register("other")
    with serving(world) as fleet:
        server = fleet.start("flask", processes=2)
        first = set(server.pids())
        wrong, right = asyncio.run(killing(server, attacked, other, kills, answers))
        report.expect(not first & set(server.pids()), "a first worker still lives: nothing was killed")
        fleet.stop()
    seen, used = statuses(wrong), statuses(right)
    report.figure("wrong secret", dict(seen))
    report.figure("right pair", dict(used))
    report.expect(set(seen) == {401, UNANSWERED}, f"wrong secrets got {dict(seen)}: 401s and broken connections only")
    report.expect(set(used) <= {200, UNANSWERED}, f"the right pair got {dict(used)}")
    recorded = world.recorded(attacked.public_key)["wrong_secret"]
    report.figure("recorded refusals", recorded)
    most = seen[401] + seen[UNANSWERED]
    report.expect(seen[401] <= recorded <= most, f"{recorded} on disk, clients saw {seen[401]} to {most}")
    [(streak,)] = world.rows("SELECT length FROM streak WHERE public_key = :k AND network = ''", k=attacked.public_key)
    report.same("streak", streak, recorded)
    report.same("incidents", world.rows("SELECT length FROM incident"), [(20,)])
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--answers", type=int, default=400)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return conclude("load.kills", [measure(World(Path(folder)), options.kills, options.answers)])


if __name__ == "__main__":
    sys.exit(main())
