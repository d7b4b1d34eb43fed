"""`make bench`: what the middleware adds to a request in process, in interleaved rounds with an A/A control.

Each round runs every contender once, in a random order, over the same request; the table gives medians over rounds and
each contender's ratio to the bare app of the same round, so that a machine whose speed drifts compares like with like.
The bare app stands in twice: how far its second self is from 1.00 is what noise alone does.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from octy_middleware import OctyASGIMiddleware

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.world import World

App = Callable[[Any, Any, Any], Awaitable[None]]
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


class Bare:
    """An app that answers two bytes."""

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)


class Trivial(AuthenticationBackend):
    """Starlette's own middleware with the least that a Basic backend can do; it records nothing."""

    def __init__(self, expected: str) -> None:
        self._expected = expected

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        if conn.headers.get("authorization") != self._expected:
            return None
        return AuthCredentials(["authenticated"]), SimpleUser("acme")


def scope(authorization: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/v1/things",
        "scheme": "https",
        "client": ("203.0.113.9", 50_000),
        "headers": [
            (b"host", b"api.example"),
            (b"user-agent", b"bench"),
            (b"accept", b"*/*"),
            (b"authorization", authorization.encode()),
        ],
    }


async def one_round(app: App, authorization: str, requests: int) -> float:
    """Return microseconds a request."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        return

    begun = time.perf_counter()
    for _ in range(requests):
        await app(scope(authorization), receive, send)
    return (time.perf_counter() - begun) / requests * 1e6


async def refusals_per_second(app: App, authorization: str, requests: int, clients: int) -> float:
    """Return committed refusals a second, with so many clients that wait for each of theirs."""
    begun = time.perf_counter()
    share = requests // clients
    await asyncio.gather(*(one_round(app, authorization, share) for _ in range(clients)))
    return share * clients / (time.perf_counter() - begun)


def fdatasync_ms(folder: Path) -> float:
    """Return what one fdatasync of 4 KiB takes here: goals for refusals are relative to it."""
    times = []
    with (folder / "probe").open("wb") as file:
        for _ in range(50):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


async def measure(world: World, rounds: int, requests: int, console: Console) -> dict[str, Any]:
    keys = world.register("acme")
    wrong = "Basic " + b64encode(f"{keys.public_key}:sk_wrong".encode()).decode()
    octy = OctyASGIMiddleware(Bare(), settings=world.settings())
    contenders: dict[str, App] = {
        "bare app": Bare(),
        "bare app again (A/A)": Bare(),
        "Starlette AuthenticationMiddleware": AuthenticationMiddleware(Bare(), backend=Trivial(keys.basic())),
        "octy, verify and record": octy,
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in track(range(rounds + 1), "Rounds", console=console):
        for name in random.sample(list(contenders), len(contenders)):
            taken = await one_round(contenders[name], keys.basic(), requests)
            if number:  # the first round warms up
                times[name].append(taken)
    refused = [await refusals_per_second(octy, wrong, 2000, 64) for _ in range(5)]
    octy.gate.close()
    bare = times["bare app"]
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "requests": requests,
        "fdatasync_ms": round(fdatasync_ms(world.folder), 3),
        "accepted": {
            name: {
                "added_us": round(statistics.median(a - b for a, b in zip(some, bare, strict=True)), 2),
                "spread_us": [round(min(some), 2), round(max(some), 2)],
            }
            for name, some in times.items()
        },
        "refusals_per_second": {"median": round(statistics.median(refused)), "all": [round(r) for r in refused]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--report", type=Path, default=Path("bench-report.json"))
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(measure(World(Path(folder)), options.rounds, options.requests, console))
    table = Table("accepted request, key seen before", "added µs (median)", "µs, lowest to highest round")
    for name, row in report["accepted"].items():
        table.add_row(name, f"{row['added_us']:.2f}", "{} to {}".format(*row["spread_us"]))
    console.print(table)
    refused = report["refusals_per_second"]
    console.print(f"committed refusals a second, 64 clients: median {refused['median']}, rounds {refused['all']}")
    console.print(f"fdatasync of 4 KiB in the same run: {report['fdatasync_ms']} ms")
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"octy: bench is done, {options.report} is written")


if __name__ == "__main__":
    main()
