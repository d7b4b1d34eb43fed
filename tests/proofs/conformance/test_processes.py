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
from proofs.conformance.servers import SERVERS, RunningServer, Server

PRELOADED = [server for server in SERVERS if server.distribution == "gunicorn"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    with accounts(tmp_path_factory.mktemp("accounts")) as originals:
        yield originals


def ask(port: int, header: str) -> tuple[int, int]:
    """Return the status and, when it is 200, the process that answered."""
    with RawConnection(port) as wire:
        wire.send(http(b"Authorization: " + header.encode()))
        answer = wire.answer()
    return answer.status, int(answer.body) if answer.status == 200 else 0


def ask_often(port: int, header: str, times: int) -> Counter[tuple[int, int]]:
    with ThreadPoolExecutor(8) as clients:
        return Counter(clients.map(lambda _: ask(port, header), range(times)))


def recorded(session: CellRun, keys: Keys, expected: dict[str, int]) -> None:
    """Accepted outcomes linger a moment in their worker: wait for them, and see that nothing else comes."""
    world = session.worlds["octy"]
    with contextlib.suppress(AssertionError):
        until(lambda: world.recorded(keys.public_key) == expected, timeout=20)
    assert world.recorded(keys.public_key) == expected


@contextlib.contextmanager
def preloaded(server: Server, originals: Accounts, folder: Path) -> Iterator[CellRun]:
    """Start three workers that fork from a process in which the middleware was built already."""
    session = CellRun.prepared(Cell("", server), originals, folder)
    app = f"proofs.conformance.apps.process_app:{server.adapter}"
    session.running = RunningServer(server, app, folder, session.environment(), "--preload", "--workers", "3")
    try:
        session.running.wait()
        yield session
    finally:
        session.running.stop()
        for world in session.worlds.values():
            world.database.close()


@pytest.mark.parametrize("server", PRELOADED, ids=lambda server: server.name)
def test_workers_forked_from_a_loaded_app_record_all_and_survive_the_death_of_one(
    server: Server, made: Accounts, tmp_path: Path
) -> None:
    keys = made.key_pairs.right
    with preloaded(server, made, tmp_path / "cell") as session:
        port, master = session.running.port, session.running.process.pid
        workers: Counter[int] = Counter()

        def all_have_answered() -> bool:
            workers.update({pid: count for (_, pid), count in ask_often(port, keys.basic(), 30).items()})
            return len(workers) == 3

        until(all_have_answered)
        assert master not in workers
        recorded(session, keys, {"accepted": workers.total()})

        assert ask_often(port, keys.basic("sk_wrong"), 30) == {(401, 0): 30}
        recorded(session, keys, {"accepted": workers.total(), "wrong_secret": 30})

        victim = next(iter(workers))
        os.kill(victim, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{victim}/stat").exists())
        refused = sum(survived(port, keys) for _ in range(60))
        assert refused >= 58  # but for what waited in the dead worker's hands
        world = session.worlds["octy"]
        assert refused <= world.recorded(keys.public_key)["wrong_secret"] - 30 <= 60
        [(length,)] = world.rows(
            "SELECT length FROM streak WHERE public_key = :key AND network = ''", key=keys.public_key
        )
        assert length == world.recorded(keys.public_key)["wrong_secret"]
        assert len(world.rows("SELECT id FROM incident")) == 1  # three processes, one case


def survived(port: int, keys: Keys) -> bool:
    """Ask with a wrong secret, and tell whether the refusal came."""
    try:
        return ask(port, keys.basic("sk_wrong")) == (401, 0)
    except (ConnectionClosed, ConnectionError):
        return False
