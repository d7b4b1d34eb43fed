"""`python -m proofs.security.timing`: does the time of a refusal show which keys exist? (T7)

A real server, one connection, refused requests in interleaved rounds; `timing_statistics` explains the figures.
"""

import argparse
import secrets
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import MappingProxyType

from rich.console import Console
from rich.table import Table
from support.paths import TESTS
from support.world import World

from octy_middleware.db.bulk_sql import run
from octy_middleware.domain import key_pairs
from octy_middleware.keys.secret import make_key_pair
from proofs.conformance.raw_http import RawConnection, Response
from proofs.conformance.servers import SERVERS, RunningServer
from proofs.security.timing_statistics import (
    ARMS,
    CONTROL,
    EMPTY,
    RETIRED,
    RETIRED_WRONG,
    UNKNOWN,
    WRONG,
    ArmStatistics,
    analyze,
    compare_with_control,
)

_WARM_UP = 50  # rounds that are not measured: 100 failures, so an incident is open and its first updates are written
Headers = Mapping[str, bytes]
"""The base64 of each arm's header."""


@dataclass(frozen=True)
class Target:
    """A server, and an app of the examples on it."""

    server: str
    app: str


TARGETS = (Target("uvicorn-h11", "starlette_app:app"), Target("gunicorn-sync", "flask_app:app"))


@dataclass
class Measurement:
    """Times in microseconds, and every different response."""

    times: dict[str, list[float]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    responses: set[bytes] = field(default_factory=set)


@dataclass(frozen=True)
class ServedTarget:
    """A target that runs over a database of its own, and one connection to it."""

    world: World
    headers: Headers
    connection: RawConnection

    def measure(self, rounds: int, rng: Random) -> Measurement:
        """Ask each arm once a round, in random order."""
        measured = Measurement()
        for number in range(_WARM_UP + rounds):
            for arm in rng.sample(ARMS, len(ARMS)):
                microseconds, response = self._ask(self.headers[arm])
                measured.responses.add(response.without_date)
                if number >= _WARM_UP:
                    measured.times[arm].append(microseconds)
        return measured

    def _ask(self, token: bytes) -> tuple[float, Response]:
        """Return the time from the request's first byte to the response's last. A new connection costs no time."""
        lines = (
            b"GET /v1/account/authenticate HTTP/1.1",
            b"Host: api.example",
            b"X-Forwarded-Proto: https",
            b"Authorization: Basic " + token,
        )
        request = b"\r\n".join((*lines, b"", b""))
        started = time.perf_counter_ns()
        self.connection.send(request)
        response = self.connection.read_response()
        microseconds = (time.perf_counter_ns() - started) / 1000
        if response.fields.get("connection", "").lower() == "close":
            self.connection.reconnect()
        return microseconds, response


@contextmanager
def serve(
    target: Target, folder: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[ServedTarget]:
    """Start the target over a new database in `folder`."""
    world = World(folder)
    headers = _prepare(world)
    settings = {
        "OCTY_DATABASE_URL": world.url,
        "OCTY_PEPPERS": world.peppers.export(),
        "OCTY_TRUSTED_PROXIES": "127.0.0.1",  # the proxy, which this process plays, says https
        "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'examples'}",
    }
    [server] = [server for server in SERVERS if server.name == target.server]
    running = RunningServer(server, target.app, folder, {**settings, **environment})
    with ExitStack() as stack:
        stack.callback(running.stop)
        running.wait()
        yield ServedTarget(world, headers, stack.enter_context(RawConnection(running.port)))


def _prepare(world: World) -> Headers:
    """Make the accounts. All keys are of one length, so all headers are, but for the empty secret's."""
    live, retired = world.register("live"), world.register("retired")
    with world.database.write() as connection:
        [(pair_id,)] = run(connection, "SELECT id FROM key_pair WHERE public_key = ?", retired.public_key)
        assert key_pairs.retire(connection, pair_id, now=0.0)
    world.database.close()
    wrong, unknown = make_key_pair().secret.reveal(), make_key_pair().public_key
    pairs = {
        WRONG: (live.public_key, wrong),
        CONTROL: (live.public_key, wrong),
        UNKNOWN: (unknown, wrong),
        RETIRED: (retired.public_key, retired.secret),
        RETIRED_WRONG: (retired.public_key, wrong),
        EMPTY: (live.public_key, ""),
    }
    return {arm: b64encode(f"{key}:{secret}".encode()) for arm, (key, secret) in pairs.items()}


def _table(target: Target, found: Mapping[str, ArmStatistics]) -> Table:
    title = f"{target.app} on {target.server}: microseconds a refusal"
    columns = ("arm", "samples", "median", "p10", "p90", "trimmed mean", "against wrong", "99 % interval", "")
    table = Table(*columns, title=title)
    for arm, each in found.items():
        own = (each.median, each.p10, each.p90, each.trimmed_mean)
        word = "control" if arm in (WRONG, CONTROL) else compare_with_control(each, found[CONTROL])
        bounds = f"{each.low:+.1f} to {each.high:+.1f}"
        table.add_row(
            arm, str(each.samples), *(f"{value:.1f}" for value in own), f"{each.difference:+.1f}", bounds, word
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="timing", description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=5000, help="rounds: samples of each arm")
    parser.add_argument("--seed", type=int, default=None, help="of the order of the arms")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    rng = Random(seed)
    console = Console(width=140, highlight=False)
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as folder, serve(target, Path(folder)) as served:
            measured = served.measure(options.samples, rng)
        console.print(_table(target, analyze(measured.times, rng)))
        console.print(f"different responses, but for their Date: {len(measured.responses)}")
    console.print(f"octy: timing is done, seed {seed}")


if __name__ == "__main__":
    main()
