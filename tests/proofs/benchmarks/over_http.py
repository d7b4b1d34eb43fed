"""What a right pair costs over HTTP: throughput and CPU a request, against the bare app on the same server.

All contenders of a server are started before, stay up, and are asked in turns, so that rounds compare like with like.
CPU is that of the server's processes, the recorder's thread included, a database server not; on a shared machine it
is the steadier figure, for throughput also pays for the load generator and for neighbours.

Here: who runs where, and the turns. Not here: asking (`generator`), starting (`servers`).
"""

from dataclasses import replace
from functools import partial
from typing import Any

from support.world import Keys, World

from proofs.benchmarks.apps.asgi_apps import PATH
from proofs.benchmarks.apps.contenders import (
    BARE,
    BARE_WSGI,
    BY_NAME,
    DJANGO,
    FASTAPI,
    FLASK,
    VERIFY,
    Contender,
    of_stores,
)
from proofs.benchmarks.generator import Closed, Generator
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.rounds import Series, length, play
from proofs.benchmarks.servers import COMMANDS, UVICORN, Served, hall
from proofs.benchmarks.sizes import Sizes
from proofs.benchmarks.spread import Spread, ratios
from proofs.benchmarks.wire import request

BASES = {
    UVICORN: (BARE, FASTAPI),
    "uvicorn (h11, asyncio)": (BARE,),
    "granian (ASGI)": (BARE,),
    "gunicorn (uvicorn worker)": (BARE,),
    "granian (WSGI)": (BARE_WSGI,),
    "gunicorn (gthread)": (BARE_WSGI, FLASK, DJANGO),
}


def measure(lab: Lab) -> dict[str, Any]:
    """Go from server to server."""
    with lab.worlds() as worlds, Generator() as generator:
        keys = {store: world.register("acme") for store, world in worlds.items()}
        found = {server: _one_server(lab, server, worlds, keys, generator) for server in COMMANDS}
    return {
        "rounds": lab.sizes.http_rounds,
        "seconds": lab.sizes.http_seconds,
        "connections": lab.sizes.connections,
        "servers": found,
    }


def stores_on(server: str, stores: tuple[str, ...], sizes: Sizes) -> tuple[str, ...]:
    """Return the databases of which a server has contenders: a tiny run takes both on one server only."""
    servers = sizes.both_stores_on
    return stores if servers is None or server in servers else stores[:1]


def contenders_on(server: str, stores: tuple[str, ...]) -> list[Contender]:
    """Return who runs behind a server; what ours costs without recording is asked of one only."""
    return [
        contender
        for contender in of_stores(stores)
        if contender.base in BASES[server] and (contender.name != VERIFY or server == UVICORN)
    ]


def _one_server(
    lab: Lab, server: str, worlds: dict[str, World], keys: dict[str, Keys], generator: Generator
) -> dict[str, Any]:
    contenders = contenders_on(server, stores_on(server, lab.stores, lab.sizes))
    rounds = lab.sizes.http_rounds
    with hall(lab.folder / "".join(filter(str.isalnum, server))) as group:
        served: dict[str, Served] = {}
        for contender in contenders:
            store = contender.store or lab.stores[0]
            mine = keys[store]
            served[contender.name] = group.launch(server, contender.name, worlds[store], mine, mine.basic())
        group.wait(*served.values())
        jobs = {each.name: _job(lab, each, served[each.name], keys) for each in contenders}
        with lab.steps(f"over HTTP, {server}", length(list(jobs), rounds)) as step:
            series = play(list(jobs), rounds, lab.rng, partial(_turn, generator, jobs, served), step=step)
    return summary(series)


def _job(lab: Lab, contender: Contender, served: Served, keys: dict[str, Keys]) -> Closed:
    authorization = contender.header(keys[contender.store or lab.stores[0]].basic())
    asked = (request(PATH, authorization),)
    sizes = lab.sizes
    return Closed(served.port, asked, 200, sizes.connections, sizes.http_seconds, settle_seconds=sizes.settle_seconds)


def _turn(generator: Generator, jobs: dict[str, Closed], served: dict[str, Served], name: str) -> dict[str, float]:
    load = generator.run(replace(jobs[name], pids=served[name].pids()))
    answers = len(load.times[0])
    return {"per_second": answers / load.seconds, "cpu_us": load.cpu / answers * 1e6}


def summary(series: dict[str, Series]) -> dict[str, Any]:
    """Return each contender's spreads and its ratios to its bare app, 1 for as good as that."""
    found: dict[str, Any] = {}
    for name, mine in series.items():
        base = series[BY_NAME[name].base]
        found[name] = {
            "base": BY_NAME[name].base,
            "per_second": Spread.of(mine["per_second"]),
            "cpu_us": Spread.of(mine["cpu_us"]),
            "throughput_ratio": Spread.of(ratios(mine["per_second"], base["per_second"])),
            "cpu_ratio": Spread.of(ratios(base["cpu_us"], mine["cpu_us"])),
        }
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    columns = ("contender", "requests/s", "ratio to its bare app", "CPU µs a request", "ratio by CPU")
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s, {figures['connections']} kept connections, one "
        "server process. Ratios are of the same round: 1 is as the bare app; by CPU, its CPU time divided by the "
        "contender's."
    )
    return [
        Table(
            f"Over HTTP: {server}",
            columns,
            [
                (
                    f"{name} (base)" if name == arm["base"] else name,
                    shown(arm["per_second"], 0),
                    shown(arm["throughput_ratio"]),
                    shown(arm["cpu_us"], 1),
                    shown(arm["cpu_ratio"]),
                )
                for name, arm in arms.items()
            ],
            note,
        )
        for server, arms in figures["servers"].items()
    ]


def plots(figures: dict[str, Any]) -> list[Plot]:
    return [
        Plot(
            f"over-http-{''.join(filter(str.isalnum, server))}",
            f"Throughput against the bare app: {server}",
            "ratio",
            [bar(name, arm["throughput_ratio"]) for name, arm in arms.items() if name != arm["base"]],
            mark=1.0,
        )
        for server, arms in figures["servers"].items()
    ]
