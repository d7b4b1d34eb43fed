"""One side of `against`: servers and loads of the checkout that PYTHONPATH names, played when a line of input says so.

Run by its path, so that the code of any checkout serves that has these few functions. It prints what it imported and
its processes, then the figures of each turn, as JSON.
"""

import json
import os
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from support.postgres import PostgresServer
from support.world import Keys, World

import octy_middleware
from octy_middleware import Authenticator, OctyASGIMiddleware
from octy_worker.dev.processes import ProcessGroup
from proofs.benchmarks.apps.bare import PATH, Bare
from proofs.benchmarks.apps.contenders import recording
from proofs.benchmarks.arms import AsgiArm
from proofs.benchmarks.generator import ClosedLoop, FixedRate, Generator, Stream
from proofs.benchmarks.servers import UVICORN, ServerGroup
from proofs.benchmarks.wire import request
from proofs.load.report import percentile

AT_A_RATE = "2000 a second"
"""Refusals of one key at this rate, beside accepted requests of another."""
_CONNECTIONS = 64
_SETTLE_SECONDS = 0.4  # twice the batch delay
_REQUESTS_PER_SECOND = 50_000  # in process: about as many as a turn's seconds take


class _Served:
    """A server of this checkout on a fresh database, and its keys."""

    def __init__(self, world: World, database: str, group: ServerGroup) -> None:
        self.world = world
        self.keys = [world.register(f"customer-{number}") for number in range(_CONNECTIONS)]
        header = self.keys[0].basic()
        self.server = group.launch(UVICORN, recording(database), world, self.keys[0], header)
        group.wait(self.server)

    def load(self, kind: str, which: str, seconds: float) -> ClosedLoop:
        """Return accepted requests of one key, or refusals: of one key, of a key each, on one connection."""
        keys = self.keys if which == "a key each" else self.keys[:1]
        connections = 1 if which == "one connection" else _CONNECTIONS
        headers = [key.basic() if kind == "accepted" else key.basic("sk_wrong") for key in keys]
        requests = tuple(request(PATH, header) for header in headers)
        status = 200 if kind == "accepted" else 401
        pids = self.server.pids()
        return ClosedLoop(self.server.port, requests, status, connections, seconds, pids, _SETTLE_SECONDS)

    def flood(self, seconds: float) -> FixedRate:
        """Return refusals of one key at a fixed rate, and 200 accepted requests a second of another."""
        attacked, owner = self.keys[:2]
        wrong = Stream((request(PATH, attacked.basic("sk_wrong")),), 401, 2000, _CONNECTIONS)
        right = Stream((request(PATH, owner.basic()),), 200, 200, 4)
        return FixedRate(self.server.port, (wrong, right), seconds, seed=1)


def _at_a_rate(generator: Generator, job: FixedRate) -> dict[str, float]:
    refused, accepted = generator.run(job).times
    beside = {f"accepted_{name}": value for name, value in _percentiles(accepted).items()}
    return {**_percentiles(refused), **beside}


def _over_http(generator: Generator, job: ClosedLoop) -> dict[str, float]:
    load = generator.run(job)
    times = load.times[0]
    rates = {"per_second": len(times) / load.seconds, "cpu_us": load.cpu / len(times) * 1e6}
    return {**rates, **_percentiles(times)}


def _percentiles(times: list[float]) -> dict[str, float]:
    return {"p50_ms": percentile(times, 0.5) * 1e3, "p99_ms": percentile(times, 0.99) * 1e3}


def _in_process(arm: AsgiArm, seconds: float) -> dict[str, float]:
    """Return CPU of the whole process until all outcomes are committed."""
    number = max(1, round(_REQUESTS_PER_SECOND * seconds))
    before = time.process_time()
    arm.run(number)
    arm.flush()
    return {"cpu_us": (time.process_time() - before) / number * 1e6}


def _variables(world: World, keys: Keys) -> dict[str, str]:
    """Return the variables of `hot_path` on this database."""
    settings = {"OCTY_DATABASE_URL": world.url, "OCTY_PEPPERS": world.peppers.export()}
    return {**settings, "BENCH_RIGHT": keys.basic(), "BENCH_WRONG": keys.basic("sk_wrong")}


def _write(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(folder: Path, databases: list[str]) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(durable=True)) if "postgresql" in databases else None
        generator = stack.enter_context(Generator())
        group = ServerGroup(stack.enter_context(ProcessGroup(folder / "logs", dict(os.environ))), folder)
        served = {}
        for database in databases:
            (folder / database).mkdir()
            world = stack.enter_context(closing(World(folder / database, database, server)))
            served[database] = _Served(world, database, group)
        first = served[databases[0]]
        app = OctyASGIMiddleware(Bare(), authenticator=Authenticator(first.world.settings()))
        arm = AsgiArm(app, first.keys[0].basic())
        stack.callback(arm.close)
        stack.callback(arm.stop)
        _write(
            {
                "package": octy_middleware.__file__,
                "servers": {database: one.server.pids() for database, one in served.items()},
                "generator": generator._process.pid,  # older code does not show it
            }
        )
        for line in sys.stdin:
            load, argument = json.loads(line)
            kind, place, *which = load.split(", ") if ", " in load else (load, "")
            if kind == "database":
                world = stack.enter_context(closing(World(Path(argument))))
                _write(_variables(world, world.register()))
            elif place == "in process":
                _write(_in_process(arm, argument))
            elif which == [AT_A_RATE]:
                _write(_at_a_rate(generator, served[place].flood(argument)))
            else:
                _write(_over_http(generator, served[place].load(kind, which[0] if which else "", argument)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
