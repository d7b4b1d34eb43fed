"""What an accepted request costs in process: every contender called directly, without server and socket.

Wall: seconds of the loop that sends the requests. CPU: seconds of the whole process, all threads, until all events are
committed (a database server's CPU is not in it). Added: against the bare app of the same framework in the same round.
All arms but the one that is measured are stopped.
"""

import gc
from contextlib import ExitStack
from typing import Any

from support.world import World

from proofs.benchmarks.apps.contenders import (
    BARE,
    BARE_WSGI,
    BY_NAME,
    STARLETTE,
    VERIFY,
    Contender,
    Setup,
    of_databases,
    recording,
)
from proofs.benchmarks.arms import Arm, AsgiArm, WsgiArm, figures_of
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, bar, spread_table
from proofs.benchmarks.spread import Series, Spread, differences, ratios

_FEWER = 5  # times fewer requests with a framework


def build(contender: Contender, setup: Setup) -> Arm:
    kind: Any = AsgiArm if contender.adapter == "asgi" else WsgiArm
    return kind(contender.build(setup), contender.header(setup.authorization))


def measure(lab: Lab) -> dict[str, Any]:
    """Measure every contender in every round, and check that exactly those that record have recorded."""
    contenders = of_databases(lab.databases)
    rounds = lab.sizes.process_rounds
    with ExitStack() as stack:
        worlds = stack.enter_context(lab.worlds())
        setups = {database: _setup(world, lab) for database, world in worlds.items()}
        arms: dict[str, Arm] = {}
        for contender in contenders:
            arms[contender.name] = arm = build(contender, setups[contender.database or lab.databases[0]])
            stack.callback(arm.close)
            stack.callback(arm.stop)
        gc.freeze()  # collections before each turn need not look through what is built
        series = lab.play("in process", list(arms), rounds, lambda name: figures_of(arms[name], _requests(lab, name)))
        gc.unfreeze()
        _check_records(lab, contenders, worlds)
    return {"requests": lab.sizes.process_requests, "rounds": rounds, "arms": summary(series)}


def _requests(lab: Lab, name: str) -> int:
    """Return how many requests a turn has: fewer where each takes a framework's time."""
    bare = BY_NAME[name].base in (BARE, BARE_WSGI)
    return lab.sizes.process_requests // (1 if bare else _FEWER)


def _setup(world: World, lab: Lab) -> Setup:
    keys = world.register("acme")
    return Setup(world.settings(), keys.public_key, keys.secret, keys.basic(), lab.folder)


def _check_records(lab: Lab, contenders: list[Contender], worlds: dict[str, World]) -> None:
    """Raise RuntimeError when a contender that records has not, or the other way round."""
    for database, world in worlds.items():
        recorders = [each.name for each in contenders if each.database == database and each.name != VERIFY]
        turns = lab.sizes.process_rounds + 1
        found = world.recorded().get("accepted", 0)
        wanted = sum((_requests(lab, name) + 1) * turns for name in recorders)
        if found != wanted:
            raise RuntimeError(f"{database}: {found} accepted outcomes are recorded, not {wanted}")


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each arm's spreads, what it adds to its base, and its ratios to that."""
    found: dict[str, Any] = {}
    for name, mine in series.items():
        base = series[BY_NAME[name].base]
        found[name] = {"base": BY_NAME[name].base}
        for key in ("wall_us", "cpu_us"):
            found[name] |= {
                key: Spread.of(mine[key]),
                f"added_{key}": Spread.of(differences(mine[key], base[key])),
                f"{key[:-3]}_ratio": Spread.of(ratios(mine[key], base[key])),
            }
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    arms = figures["arms"]
    columns = (
        ("added µs, CPU", "added_cpu_us", 2),
        ("added µs, wall", "added_wall_us", 2),
        ("all µs, CPU", "cpu_us", 2),
    )
    note = (
        f"{figures['rounds']} rounds of {figures['requests']:,} requests (a fifth of it with a framework), in random "
        "order; medians with quartiles. CPU is that of the whole process, the recorder's thread and its last commit "
        "included."
    )
    return [
        spread_table(
            f"In process: what an accepted request costs on top of {base}",
            "contender",
            columns,
            {name: arm for name, arm in arms.items() if arm["base"] == base},
            note,
        )
        for base in dict.fromkeys(arm["base"] for arm in arms.values())
    ]


def plots(figures: dict[str, Any]) -> list[Plot]:
    arms = figures["arms"]
    bare = [name for name in (STARLETTE, VERIFY, recording("sqlite"), recording("postgresql")) if name in arms]
    others = [name for name, arm in arms.items() if name != arm["base"] and arm["base"] != BARE]
    return [
        Plot(name, title, "µs", [bar(each, arms[each]["added_cpu_us"]) for each in some])
        for name, title, some in (
            ("in-process", "CPU added to an accepted ASGI request", bare),
            ("in-process-frameworks", "CPU added to a request, by framework", others),
        )
    ]
