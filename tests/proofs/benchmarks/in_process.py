"""What a request with a right pair costs in process: every contender called directly, no server, no socket.

Wall: seconds of the loop that asks. CPU: seconds of the whole process, all threads, until the recorder's queue is
empty and its last commit is over: what is written behind the request's back is in it (a database server's own share
is not). Added: against the bare app of the same framework in the same round.

All but the one that is asked are at rest. Here: the turns. Not here: the apps (`apps.contenders`), calling them
(`arms`), servers (`over_http`).
"""

import gc
import time
from contextlib import ExitStack
from typing import Any

from support.world import Keys, World

from octy_middleware import Settings
from proofs.benchmarks.apps.contenders import (
    BARE,
    BARE_WSGI,
    BY_NAME,
    STARLETTE,
    VERIFY,
    Contender,
    Site,
    of_stores,
    recording,
)
from proofs.benchmarks.arms import Arm, AsgiArm, WsgiArm
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.rounds import Series, length, play
from proofs.benchmarks.spread import Spread, differences, ratios

_FEWER = 5  # times fewer requests with a framework


def build(contender: Contender, site: Site) -> Arm:
    """Return the contender, ready to be asked."""
    kind: Any = AsgiArm if contender.adapter == "asgi" else WsgiArm
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
            stack.callback(arm.close)
            stack.callback(arm.stop)
        gc.freeze()  # what is built is not looked through before each turn
        rounds = lab.sizes.process_rounds
        with lab.steps("in process", length(list(arms), rounds)) as step:
            series = play(
                list(arms), rounds, lab.rng, lambda name: figures_of(arms[name], _number(lab, name)), step=step
            )
        gc.unfreeze()
        _check_records(lab, contenders, worlds)
    return {"requests": lab.sizes.process_requests, "rounds": rounds, "arms": summary(series)}


def _number(lab: Lab, name: str) -> int:
    """Return how many requests a turn has: fewer where each takes a framework's time."""
    bare = BY_NAME[name].base in (BARE, BARE_WSGI)
    return lab.sizes.process_requests // (1 if bare else _FEWER)


def _site(world: World, lab: Lab) -> Site:
    keys: Keys = world.register("acme")
    settings: Settings = world.settings()
    return Site(settings, keys.public_key, keys.secret, keys.basic(), lab.folder)


def figures_of(arm: Arm, requests: int, *, warm_up: int = 1) -> dict[str, float]:
    """Run one turn; return microseconds a request. The requests that warm up are not counted."""
    arm.run(warm_up)
    arm.flush()
    gc.collect()
    process, thread = time.process_time(), time.thread_time()
    wall = arm.run(requests)
    used = time.thread_time() - thread
    arm.flush()
    seconds = {"wall_us": wall, "thread_us": used, "cpu_us": time.process_time() - process}
    arm.stop()
    return {name: each / requests * 1e6 for name, each in seconds.items()}


def _check_records(lab: Lab, contenders: list[Contender], worlds: dict[str, World]) -> None:
    """A contender that is said to record and does not, or the other way round, would compare nothing."""
    for store, world in worlds.items():
        recorders = [each.name for each in contenders if each.store == store and each.name != VERIFY]
        turns = lab.sizes.process_rounds + 1
        found = world.recorded().get("accepted", 0)
        wanted = sum((_number(lab, name) + 1) * turns for name in recorders)
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
        f"{figures['rounds']} rounds of {figures['requests']:,} requests (a fifth of it with a framework), in random "
        "order; medians with quartiles. CPU is that of the whole process, the recorder's thread and its last commit "
        "included."
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
