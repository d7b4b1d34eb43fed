"""The hot paths, in a process of their own: on any Python, and under valgrind. It imports no more than a host app.

`python -m proofs.benchmarks.hot_path REQUESTS` measures every path once and prints its figures as JSON.

`python -m proofs.benchmarks.hot_path --serve PATH` sends as many requests as each line of its input says, and prints a
line when they are done. Nothing happens at intervals meanwhile: accepted outcomes are committed at the end, the change
feed rests, key records are trusted for as long as it takes, and there are no collections or checkpoints.

The settings come from OCTY_* variables, the headers from BENCH_RIGHT and BENCH_WRONG. `--serve` also runs older code:
what that lacks is imported where it is used.
"""

import argparse
import gc
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, event

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware, Settings
from proofs.benchmarks.apps.bare import Bare, bare_wsgi
from proofs.benchmarks.arms import Arm, AsgiArm, WsgiArm

ACCEPTED_ASGI, ACCEPTED_WSGI = "accepted, ASGI", "accepted, WSGI"
REFUSED, FLOOD = "refused, one client", "refused, 64 clients"
_CLIENTS = 64
_NEVER = 86_400.0  # seconds


@dataclass(frozen=True)
class HotPath:
    """One kind of request. `part`: how many are sent, as a part of the number of accepted ones."""

    build: Callable[[Any, str], Arm]
    wrap: Callable[[Settings], Any]
    bare: Any
    header: str
    part: float = 1.0

    def arm(self, settings: Settings) -> Arm:
        return self.build(self.wrap(settings), os.environ[self.header])

    def bare_arm(self) -> Arm:
        return self.build(self.bare, "")


def _asgi(settings: Settings) -> OctyASGIMiddleware:
    return OctyASGIMiddleware(Bare(), authenticator=Authenticator(settings))


def _wsgi(settings: Settings) -> OctyWSGIMiddleware:
    return OctyWSGIMiddleware(bare_wsgi, authenticator=Authenticator(settings))


def _refused(clients: int) -> Callable[[Any, str], Arm]:
    return lambda app, header: AsgiArm(app, header, tasks=clients, status=401)


HOT_PATHS = {
    ACCEPTED_ASGI: HotPath(AsgiArm, _asgi, Bare(), "BENCH_RIGHT"),
    ACCEPTED_WSGI: HotPath(WsgiArm, _wsgi, bare_wsgi, "BENCH_RIGHT"),
    REFUSED: HotPath(_refused(1), _asgi, Bare(), "BENCH_WRONG", 0.05),
    FLOOD: HotPath(_refused(_CLIENTS), _asgi, Bare(), "BENCH_WRONG", 0.25),
}
COUNTED = (ACCEPTED_ASGI, ACCEPTED_WSGI)
"""Those of which the calls are counted: all is done in the client's thread."""


def main(arguments: list[str] | None = None) -> int:
    """Measure once, or serve."""
    parser = argparse.ArgumentParser(prog="hot_path", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("requests", type=int, nargs="?", default=1000)
    parser.add_argument("--serve", choices=HOT_PATHS)
    options = parser.parse_args(arguments)
    settings = Settings.from_environment()
    if options.serve:
        _serve(HOT_PATHS[options.serve], settings)
        return 0
    found = {
        name: measure(path, settings, max(1, round(options.requests * path.part))) for name, path in HOT_PATHS.items()
    }
    calls = {name: count(HOT_PATHS[name], settings) for name in COUNTED}
    json.dump({"cpu_us": found, "calls": calls}, sys.stdout)
    return 0


def measure(path: HotPath, settings: Settings, requests: int) -> float:
    """Return CPU microseconds of the whole process a request."""
    from proofs.benchmarks.arms import figures_of

    arm = path.arm(settings)
    try:
        return figures_of(arm, requests, warm_up=requests)["cpu_us"]
    finally:
        arm.stop()
        arm.close()


def count(path: HotPath, settings: Settings) -> int:
    """Return the calls of an accepted request, without those of the bare app and of the client."""
    from support.calls import calls_per_request

    ours, bare = path.arm(settings), path.bare_arm()
    try:
        for arm in (ours, bare):
            arm.run(3)  # threads run, key and header are cached
        found = [calls_per_request(ours.run).total() - calls_per_request(bare.run).total() for _ in range(5)]
        return int(median(found))  # a new second begins in one of them, at most
    finally:
        for arm in (ours, bare):
            arm.stop()
            arm.close()


def _without_checkpoints(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA wal_autocheckpoint=0").close()


def _serve(path: HotPath, settings: Settings) -> None:
    sys.setswitchinterval(_NEVER)  # a thread runs until it waits
    gc.disable()  # a collection would count for the request that it meets
    event.listen(Engine, "connect", _without_checkpoints)  # as would a checkpoint
    changed = dict.fromkeys(("batch_delay", "feed_interval", "grace_period", "commit_timeout"), _NEVER)
    changed |= dict.fromkeys(("threshold", "attempts_per_minute"), 1_000_000)  # every refusal writes the same rows
    with (
        patch("octy_middleware.auth.cache_trust.TRUST_TTL", _NEVER),
        patch("octy_middleware.auth.key_cache.TICK_INTERVAL", _NEVER),
    ):
        arm = path.arm(settings.model_copy(update=changed))
        for line in sys.stdin:
            arm.run(int(line))
            sys.stdout.write("done\n")
            sys.stdout.flush()
        arm.stop()
        arm.close()


if __name__ == "__main__":
    sys.exit(main())
