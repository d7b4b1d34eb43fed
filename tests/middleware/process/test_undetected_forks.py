"""Forks without Python's hooks, as by uWSGI: the child shares nothing with its parent."""

import os
import random
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from support.forks import fork_untold
from support.until import until
from support.world import FakeRequest, World

from octy_middleware import Authenticator
from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.event import build_event
from octy_middleware.http.outcome import Outcome
from octy_middleware.process.fork import detect_fork
from octy_worker.dev.processes import LOOPBACK, ProcessGroup, free_port, is_listening

APP = """
from octy_middleware import OctyWSGIMiddleware

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]

application = OctyWSGIMiddleware(app, require_https=False)
"""
TIMEOUT = 20  # seconds


def open_connections(world: World) -> int:
    """Count what this process has open to the database."""
    if world.database_kind == "sqlite":
        files = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # another thread closed it, or it was for the listing itself
                files.append(str(link.readlink()))
        return sum(file.startswith(str(world.folder / "octy.db")) for file in files)
    asked = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    found = int(world.rows(asked)[0][0])
    world.database.close()
    return found


def test_constructor_leaves_no_connection_and_no_thread(world: World) -> None:
    world.database.close()
    before, threads = open_connections(world), threading.active_count()
    authenticator = Authenticator(world.settings())
    assert open_connections(world) == before
    assert threading.active_count() == threads
    authenticator.close()


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_forked_child_decides_and_records_with_its_own_connections(world: World, *, used: bool) -> None:
    keys = world.register()

    def decide() -> None:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        assert authenticator.decide(FakeRequest(keys.basic("sk_wrong"))).outcome is Outcome.WRONG_SECRET

    def work() -> None:
        decide()
        authenticator.close()

    with world.authenticator() as authenticator:
        if used:
            decide()
        assert [fork_untold(work) for _ in range(2)] == [0, 0]
        decide()
    times = 4 if used else 3
    assert world.recorded() == {"accepted": times, "wrong_secret": times}


def test_request_ids_of_two_forked_children_differ(tmp_path: Path) -> None:
    def work(name: str) -> None:
        detect_fork()
        event = build_event(Outcome.MALFORMED, FakeRequest(), ClientAddress("192.0.2.1", "https"), 0.0)
        (tmp_path / name).write_text(event.request_id)

    assert [fork_untold(partial(work, name)) for name in ("one", "two")] == [0, 0]
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_request_ids_do_not_depend_on_a_seeded_random_generator() -> None:
    def seeded() -> str:
        random.seed(1)
        before = random.getstate()
        request_id = build_event(Outcome.MALFORMED, FakeRequest(), ClientAddress("192.0.2.1", "https"), 0.0).request_id
        assert random.getstate() == before
        return request_id

    state = random.getstate()
    try:
        assert seeded() != seeded()
    finally:
        random.setstate(state)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_database_session_of_a_forked_child_is_its_own(world: World, database_kind: str) -> None:
    """What a child does on an inherited session, and its end, would be the parent's."""
    pinned = world.database.pin_connection()

    def sessions() -> set[int]:
        with world.database.read() as connection:
            pooled = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        query = "SELECT pg_backend_pid()"
        return {pooled, int(world.database.query(pinned, lambda found: found.exec_driver_sql(query).scalar_one()))}

    before = sessions()

    def work() -> None:
        assert not before & sessions()

    assert fork_untold(work) == 0
    assert before <= sessions()
    pinned.close()


def test_uwsgi_prefork_answers_every_first_request(world: World) -> None:
    """On both databases: a fork could share a server's connection, and lose the locks of a file's."""
    keys, port = world.register(), free_port()
    script = world.folder / "app.py"
    script.write_text(APP)
    command = ["--http-socket", f"{LOOPBACK}:{port}", "--wsgi-file", str(script), "--master", "--processes", "4"]
    settings = {"OCTY_DATABASE_URL": world.url, "OCTY_PEPPERS": world.peppers.export()}
    uwsgi = str(Path(sys.executable).with_name("uwsgi"))
    with ProcessGroup(world.folder / "logs", {**os.environ, **settings}) as group:
        process = group.start("uwsgi", [uwsgi, *command, "--enable-threads", "--die-on-term", "--need-app"])
        process.wait_until(lambda: is_listening(port), 30)

        def query(number: int) -> int:
            asked = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT)
            with closing(asked):
                secret = "sk_wrong" if number % 10 == 0 else None
                asked.request("GET", "/", headers={"Authorization": keys.basic(secret)})
                return asked.getresponse().status

        with ThreadPoolExecutor(8) as pool:
            assert Counter(pool.map(query, range(200))) == {200: 180, 401: 20}
        os.kill(process.pid, signal.SIGTERM)  # to the master alone: uWSGI hangs when its workers get it as well
        until(lambda: process.returncode is not None)
    assert world.recorded()["wrong_secret"] == 20
