"""What an accepted request costs over HTTP: throughput and CPU a request, against the bare app on the same server.

All contenders of a server are started before, keep running, and are measured in turns, the server on one core and the
load generator on the others. CPU is that of the server's processes, with the recorder's thread and without a database
server; on a shared machine it is the steadier figure, for throughput also pays for other processes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from support.world import Keys, World

from proofs.benchmarks.apps.bare import PATH
from proofs.benchmarks.apps.contenders import (
    BARE,
    BARE_WSGI,
    DJANGO,
    FASTAPI,
    FLASK,
    VERIFY,
    Contender,
    of_databases,
)
from proofs.benchmarks.generator import ClosedLoop, Generator
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.machine import on_one_core
from proofs.benchmarks.presentation import Plot, Table, bar, spread_table
from proofs.benchmarks.servers import COMMANDS, GRANIAN, GTHREAD, UVICORN, running_servers
from proofs.benchmarks.sizes import Sizes
from proofs.benchmarks.spread import Series, Spread, ratios
from proofs.benchmarks.wire import request

BASES = {
    UVICORN: (BARE, FASTAPI),
    "uvicorn (h11, asyncio)": (BARE,),
    GRANIAN: (BARE,),
    "gunicorn (uvicorn worker)": (BARE,),
    "granian (WSGI)": (BARE_WSGI,),
    GTHREAD: (BARE_WSGI, FLASK, DJANGO),
}


def measure(lab: Lab) -> dict[str, Any]:
    with lab.worlds() as worlds, Generator() as generator:
        keys = {database: world.register("acme") for database, world in worlds.items()}
        found = {}
        for server in COMMANDS:
            contenders = contenders_on(server, databases_on(server, lab.databases, lab.sizes))
            series = play_server(lab, server, contenders, worlds=worlds, keys=keys, generator=generator)
            found[server] = summary(series, {contender.name: contender.base for contender in contenders})
    return {
        "rounds": lab.sizes.http_rounds,
        "seconds": lab.sizes.http_seconds,
        "connections": lab.sizes.connections,
        "servers": found,
    }


def databases_on(server: str, databases: tuple[str, ...], sizes: Sizes) -> tuple[str, ...]:
    """Return the databases of which a server has contenders: a tiny run has both on one server only."""
    servers = sizes.both_databases_on
    return databases if servers is None or server in servers else databases[:1]


def contenders_on(server: str, databases: tuple[str, ...]) -> list[Contender]:
    """Return the contenders of a server; ours without recording is on one only."""
    return [
        contender
        for contender in of_databases(databases)
        if contender.base in BASES[server] and (contender.name != VERIFY or server == UVICORN)
    ]


def play_server(
    lab: Lab,
    server: str,
    contenders: Sequence[Contender],
    *,
    worlds: dict[str, World],
    keys: dict[str, Keys],
    generator: Generator,
) -> dict[str, Series]:
    """Start all contenders on a server of their own each; return the figures of their turns. Accepted requests."""
    sizes = lab.sizes
    folder = Path(mkdtemp(prefix=_file_name(server), dir=lab.folder))
    with running_servers(folder) as group:
        served, jobs = {}, {}
        for contender in contenders:
            database = contender.database or lab.databases[0]
            authorization = keys[database].basic()
            served[contender.name] = one = group.launch(
                server, contender.name, worlds[database], keys[database], authorization
            )
            requests = (request(PATH, contender.header(authorization)),)
            settle = sizes.settle_seconds if contender.database else 0.0  # nothing is deferred by the others
            jobs[contender.name] = ClosedLoop(
                one.port, requests, 200, sizes.connections, sizes.http_seconds, settle_seconds=settle
            )
        group.wait(*served.values())

        def turn(name: str) -> dict[str, float]:
            pids = served[name].pids()
            with on_one_core(pids, others=(generator.pid,)):
                load = generator.run(replace(jobs[name], pids=pids))
            responses = len(load.times[0])
            return {"per_second": responses / load.seconds, "cpu_us": load.cpu / responses * 1e6}

        return lab.play(f"over HTTP, {server}", list(jobs), sizes.http_rounds, turn)


def _file_name(server: str) -> str:
    return "".join(filter(str.isalnum, server))


def summary(series: dict[str, Series], bases: Mapping[str, str]) -> dict[str, Any]:
    """Return each contender's spreads and its ratios to its bare app, 1 for as good as that."""
    found: dict[str, Any] = {}
    for name, mine in series.items():
        base = series[bases[name]]
        found[name] = {
            "base": bases[name],
            "per_second": Spread.of(mine["per_second"]),
            "cpu_us": Spread.of(mine["cpu_us"]),
            "throughput_ratio": Spread.of(ratios(mine["per_second"], base["per_second"])),
            "cpu_ratio": Spread.of(ratios(base["cpu_us"], mine["cpu_us"])),
        }
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    columns = (
        ("requests/s", "per_second", 0),
        ("ratio to its bare app", "throughput_ratio", 2),
        ("CPU µs a request", "cpu_us", 1),
        ("ratio by CPU", "cpu_ratio", 2),
    )
    note = (
        f"{figures['rounds']} rounds of {figures['seconds']:g} s, {figures['connections']} kept connections, one "
        "server process on a core of its own. Ratios are of the same round: 1 is as the bare app; by CPU, its CPU time "
        "divided by the contender's."
    )
    return [
        spread_table(
            f"Over HTTP: {server}",
            "contender",
            columns,
            {f"{name} (base)" if name == arm["base"] else name: arm for name, arm in arms.items()},
            note,
        )
        for server, arms in figures["servers"].items()
    ]


def plots(figures: dict[str, Any]) -> list[Plot]:
    return [
        Plot(
            f"over-http-{_file_name(server)}",
            f"Throughput against the bare app: {server}",
            "ratio",
            [bar(name, arm["throughput_ratio"]) for name, arm in arms.items() if name != arm["base"]],
            mark=1.0,
        )
        for server, arms in figures["servers"].items()
    ]
