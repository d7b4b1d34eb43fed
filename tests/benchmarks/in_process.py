"""What a request with a right pair costs in process: every contender called directly, no server, no socket.

Wall: seconds of the loop that asks. CPU: seconds of the whole process, all threads, until the recorder's queue is
empty and its last commit is over: what is written behind the request's back is in it (a database server's own share
is not). Added: against the bare app of the same framework in the same round.

Here: calling apps. Not here: the apps (`apps.contenders`), servers (`over_http`).
"""

import asyncio
import gc
import io
import time
from contextlib import ExitStack
from typing import Any

from support.world import Keys, World

from benchmarks.apps.asgi_apps import PATH
from benchmarks.apps.contenders import BARE, BY_NAME, STARLETTE, VERIFY, Contender, Site, of_stores, recording
from benchmarks.lab import Lab
from benchmarks.presentation import Plot, Table, bar, shown
from benchmarks.rounds import Series, length, play
from benchmarks.spread import Spread, differences, ratios
from octy_middleware import Settings

_POLL = 0.01  # seconds between two looks at the queue
_LAST_COMMIT = 0.02  # seconds for what has left the queue and is not yet on disk
PEER = "203.0.113.9"


class AsgiArm:
    """An ASGI app that is asked in a loop of its own."""

    def __init__(self, app: Any, authorization: str) -> None:
        self.app = app
        self._headers = [
            (b"host", b"api.example"),
            (b"user-agent", b"bench"),
            (b"accept", b"*/*"),
            (b"authorization", authorization.encode()),
        ]
        self._loop = asyncio.new_event_loop()

    def run(self, requests: int) -> float:
        return self._loop.run_until_complete(self._run(requests))

    async def _run(self, requests: int) -> float:
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        begun = time.perf_counter()
        for _ in range(requests):
            await self.app(self._scope(), receive, send)
        taken = time.perf_counter() - begun
        _check(status)
        return taken

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "https",
            "client": (PEER, 50_000),
            "server": ("api.example", 443),
            "headers": self._headers,
        }

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class WsgiArm:
    """A WSGI app that is asked in this thread."""

    def __init__(self, app: Any, authorization: str) -> None:
        self.app = app
        self._environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": PATH,
            "QUERY_STRING": "",
            "SERVER_NAME": "api.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": PEER,
            "HTTP_HOST": "api.example",
            "HTTP_USER_AGENT": "bench",
            "HTTP_ACCEPT": "*/*",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }

        self._authorization = authorization
        self._status = ""

    def run(self, requests: int) -> float:
        begun = time.perf_counter()
        for _ in range(requests):
            self.ask(self._authorization)
        taken = time.perf_counter() - begun
        _check(int(self._status[:3]))
        return taken

    def ask(self, authorization: str) -> str:
        """Ask once, as a server does; return the status line."""
        answer = self.app({**self._environ, "HTTP_AUTHORIZATION": authorization}, self._start_response)
        for _chunk in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
        return self._status

    def _start_response(self, line: str, _headers: Any, _exc_info: Any = None) -> None:
        self._status = line

    def close(self) -> None:
        """Nothing is open."""


def _check(status: int) -> None:
    if status != 200:
        raise RuntimeError(f"a right pair was answered {status}: nothing is measured that way")


Arm = AsgiArm | WsgiArm


def build(contender: Contender, site: Site) -> Arm:
    """Return the contender, ready to be asked."""
    kind = AsgiArm if contender.door == "asgi" else WsgiArm
    return kind(contender.build(site), contender.header(site.authorization))


def measure(lab: Lab) -> dict[str, Any]:
    """Ask every contender in every round, and check that exactly those that record have recorded."""
    contenders = of_stores(lab.stores)
    with ExitStack() as stack:
        worlds = stack.enter_context(lab.worlds())
        sites = {store: _site(world, lab) for store, world in worlds.items()}
        arms: dict[str, Arm] = {}
        for contender in contenders:
            arms[contender.name] = arm = build(contender, sites[contender.store or lab.stores[0]])
            stack.callback(_close, arm)
        requests, rounds = lab.sizes.process_requests, lab.sizes.process_rounds
        with lab.steps("in process", length(list(arms), rounds)) as step:
            series = play(list(arms), rounds, lab.rng, lambda name: figures_of(arms[name], requests), step=step)
        for arm in arms.values():
            drain(arm)
        _check_records(contenders, worlds, requests * (rounds + 1))
    return {"requests": requests, "rounds": rounds, "arms": summary(series)}


def _site(world: World, lab: Lab) -> Site:
    keys: Keys = world.register("acme")
    settings: Settings = world.settings()
    return Site(settings, keys.public_key, keys.secret, keys.basic(), lab.folder)


def figures_of(arm: Arm, requests: int) -> dict[str, float]:
    """Run one turn; return microseconds a request."""
    gc.collect()
    before = time.process_time()
    wall = arm.run(requests)
    drain(arm)
    return {"wall_us": wall / requests * 1e6, "cpu_us": (time.process_time() - before) / requests * 1e6}


def drain(arm: Arm) -> None:
    """Return when all that the app's gate has to write is written; an app without one has nothing."""
    gate = getattr(arm.app, "gate", None)
    while gate is not None and gate.health().queued:
        time.sleep(_POLL)
    time.sleep(_LAST_COMMIT)


def _close(arm: Arm) -> None:
    gate = getattr(arm.app, "gate", None)
    if gate is not None:
        gate.close()
    arm.close()


def _check_records(contenders: list[Contender], worlds: dict[str, World], requests: int) -> None:
    """A contender that is said to record and does not, or the other way round, would compare nothing."""
    for store, world in worlds.items():
        recorders = [each for each in contenders if each.store == store and each.name != VERIFY]
        found, wanted = world.recorded().get("accepted", 0), requests * len(recorders)
        if found != wanted:
            raise RuntimeError(f"{store}: {found} accepted outcomes are recorded, not {wanted}")


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads, what it adds to its base, and its share of what Starlette's middleware adds."""
    found: dict[str, Any] = {}
    for name, mine in series.items():
        base = series[BY_NAME[name].base]
        found[name] = {"base": BY_NAME[name].base} | {
            key: Spread.of(values)
            for kind in ("wall", "cpu")
            for key, values in (
                (f"{kind}_us", mine[f"{kind}_us"]),
                (f"added_{kind}_us", differences(mine[f"{kind}_us"], base[f"{kind}_us"])),
                (f"{kind}_ratio", ratios(mine[f"{kind}_us"], base[f"{kind}_us"])),
            )
        }
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    arms = figures["arms"]
    columns = ("contender", "added µs, CPU", "added µs, wall", "µs in all, CPU")
    note = (
        f"{figures['rounds']} rounds of {figures['requests']:,} requests, one after the other, in random order; "
        "medians with quartiles. CPU is that of the whole process, the recorder's thread and its last commit included."
    )
    return [
        Table(
            f"In process: what a right pair adds to {base}",
            columns,
            [
                (name, shown(arm["added_cpu_us"]), shown(arm["added_wall_us"]), shown(arm["cpu_us"]))
                for name, arm in arms.items()
                if arm["base"] == base
            ],
            note,
        )
        for base in dict.fromkeys(arm["base"] for arm in arms.values())
    ]


def plots(figures: dict[str, Any]) -> list[Plot]:
    arms = figures["arms"]
    wanted = [STARLETTE, VERIFY, recording("sqlite"), recording("postgresql")]
    bars = [bar(name, arms[name]["added_cpu_us"]) for name in wanted if name in arms]
    others = [name for name, arm in arms.items() if name != arm["base"] and arm["base"] != BARE]
    return [
        Plot("in-process", "CPU added to an ASGI request with a right pair", "µs", bars),
        Plot(
            "in-process-frameworks",
            "CPU added to a request, by framework",
            "µs",
            [bar(name, arms[name]["added_cpu_us"]) for name in others],
        ),
    ]
