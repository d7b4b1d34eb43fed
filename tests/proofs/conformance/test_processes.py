"""Several processes: an app loaded before the fork, a worker killed."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.until import until
from support.world import Keys

from proofs.conformance.accounts import Accounts, accounts
from proofs.conformance.cases import http
from proofs.conformance.cells import Cell, CellRun
from proofs.conformance.raw_http import ConnectionClosed, RawConnection
from proofs.conformance.servers import SERVERS, Server
from proofs.load.http_clients import PATH
from proofs.load.servers import LOAD_APP

PRELOADED = [server for server in SERVERS if server.distribution == "gunicorn"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    with accounts(tmp_path_factory.mktemp("accounts")) as originals:
        yield originals


def ask(port: int, header: str) -> tuple[int, int]:
    """Return the status and, when it is 200, the process that answered."""
    with RawConnection(port) as connection:
        connection.send(http(b"Authorization: " + header.encode(), path=PATH.encode()))
        response = connection.read_response()
    return response.status, int(response.body) if response.status == 200 else 0


def ask_often(port: int, header: str, times: int) -> Counter[tuple[int, int]]:
    with ThreadPoolExecutor(8) as clients:
        return Counter(clients.map(lambda _: ask(port, header), range(times)))


def recorded(run: CellRun, keys: Keys, expected: dict[str, int]) -> None:
    """Accepted outcomes wait a moment in their worker: wait for them, and see that nothing else comes."""
    world = run.worlds["octy"]
    with contextlib.suppress(AssertionError):
        until(lambda: world.recorded(keys.public_key) == expected, timeout=20)
    assert world.recorded(keys.public_key) == expected


@contextlib.contextmanager
def preloaded(server: Server, originals: Accounts, folder: Path) -> Iterator[CellRun]:
    """Start three workers that fork from a process in which the middleware was built already."""
    run = CellRun.prepare(Cell("", server), originals, folder)
    run.start(LOAD_APP.starlette if server.adapter == "asgi" else LOAD_APP.flask, "--preload", "--workers", "3")
    with contextlib.closing(run):
        run.running.wait()
        yield run


@pytest.mark.parametrize("server", PRELOADED, ids=lambda server: server.name)
def test_workers_forked_from_a_loaded_app_record_all_and_survive_the_death_of_one(
    server: Server, made: Accounts, tmp_path: Path
) -> None:
    keys = made.key_pairs.right
    with preloaded(server, made, tmp_path / "cell") as run:
        port, master = run.running.port, run.running.process.pid
        workers: Counter[int] = Counter()

        def all_have_answered() -> bool:
            workers.update({pid: count for (_, pid), count in ask_often(port, keys.basic(), 30).items()})
            return len(workers) == 3

        until(all_have_answered)
        assert master not in workers
        recorded(run, keys, {"accepted": workers.total()})

        assert ask_often(port, keys.basic("sk_wrong"), 30) == {(401, 0): 30}
        recorded(run, keys, {"accepted": workers.total(), "wrong_secret": 30})

        victim = next(iter(workers))
        os.kill(victim, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{victim}/stat").exists())
        refused = sum(survived(port, keys) for _ in range(60))
        assert refused >= 58  # but for what waited in the dead worker's hands
        world = run.worlds["octy"]
        assert refused <= world.recorded(keys.public_key)["wrong_secret"] - 30 <= 60
        [(length,)] = world.rows(
            "SELECT length FROM streak WHERE public_key = :key AND network = ''", key=keys.public_key
        )
        assert length == world.recorded(keys.public_key)["wrong_secret"]
        assert len(world.rows("SELECT id FROM incident")) == 1  # three processes, one incident


def survived(port: int, keys: Keys) -> bool:
    """Ask with a wrong secret, and return whether the refusal came."""
    try:
        return ask(port, keys.basic("sk_wrong")) == (401, 0)
    except (ConnectionClosed, ConnectionError):
        return False
