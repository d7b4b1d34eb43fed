"""The pages process: started, restarted and ended with the worker; limits of its server."""

import asyncio
import contextlib
import errno
import http.client
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.until import until, until_async
from support.world import World
from uvicorn.protocols.http.h11_impl import H11Protocol

from octy_middleware.db.database import Database
from octy_worker.dev.certificates import Certificate, ensure_certificate
from octy_worker.dev.processes import free_port
from octy_worker.log_output import RateLimitFilter
from octy_worker.pages import process as pages_process
from octy_worker.settings import WorkerSettings
from octy_worker.web import acceptor, child_process
from octy_worker.web.connections import COUNTERS, ConnectionCounter, Limits
from octy_worker.web.web_server import WebServer, serve_until, web_server

HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return ensure_certificate(tmp_path_factory.mktemp("tls"))


def healthy(port: int, *, source: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> bool:
    """Return whether the pages answer a customer at this address within a few seconds."""
    kind = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
    more = {} if context is None else {"context": context}
    connection = kind("localhost", port, timeout=5, source_address=(source, 0), **more)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


async def until_healthy(port: int) -> None:
    await until_async(lambda: asyncio.to_thread(healthy, port))


def process_ids(parent: int, words: bytes = b"spawn_main") -> list[int]:
    """Return the processes whose command line has these words and whose parent this is."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                words in (place / "cmdline").read_bytes()
                and int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            ):
                found.append(int(place.name))
    return found


def command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def test_pages_server_uses_h11_with_httptools_installed(world: World) -> None:
    """With httptools installed, uvicorn would take that, which reads trailers as headers."""
    config = pages_process.pages_server(world.worker_settings(), world.database).config
    config.load()
    assert config.http_protocol_class is H11Protocol
    assert issubclass(acceptor.LimitedProtocol, H11Protocol)


def test_pages_process_is_restarted_and_ends_with_the_worker(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Three processes: the first finds its port taken, which does not stop the worker; the second is killed."""
    monkeypatch.setattr(child_process, "FIRST_BACKOFF", 0.05)
    counters = child_process.new_counters()

    async def act(own: WorkerSettings, taken: socket.socket) -> bytes:
        stop = asyncio.Event()
        watching = asyncio.create_task(pages_process.supervise(own, stop, counters))
        await until_async(lambda: "pages: process ended with status 1" in caplog.text)
        taken.close()
        await until_healthy(own.pages_port)
        [child] = process_ids(os.getpid())
        arguments = command_line(child)
        starts = counters[ConnectionCounter.STARTS]
        os.kill(child, signal.SIGKILL)
        await until_async(lambda: counters[ConnectionCounter.STARTS] > starts)
        await until_healthy(own.pages_port)
        [second] = process_ids(os.getpid())
        assert second != child
        stop.set()
        await watching
        return arguments

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = world.worker_settings(pages_port=port, smtp_password="canary-of-the-password")
        arguments = asyncio.run(act(own, taken))
    assert process_ids(os.getpid()) == []
    assert not healthy(port)
    assert counters[ConnectionCounter.STARTS] >= 3
    assert counters[ConnectionCounter.ACCEPTED] >= 2
    assert "pages: process ended with status -9" in caplog.text
    for secret in (b"canary", world.peppers.export().encode(), world.sealing_keys.export().encode()):
        assert secret not in arguments


def test_pages_command_says_in_one_line_why_it_does_not_start(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert pages_process.serve(world.worker_settings(pages_port=port)) == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith(f"pages: the pages can't listen on 127.0.0.1:{port}: ")


SUPERVISOR = """
import asyncio
import os

from octy_worker.pages.process import supervise
from octy_worker.settings import WorkerSettings
from octy_worker.web.child_process import new_counters

if __name__ == "__main__":  # the pages' process imports this program as well
    asyncio.run(supervise(WorkerSettings.from_environment(os.environ), asyncio.Event(), new_counters()))
"""


def test_pages_process_ends_when_the_worker_is_killed(world: World) -> None:
    """The worker does nothing but supervise the pages: to load the rest of it takes most of the time."""
    port, program = free_port(), world.folder / "supervisor.py"
    program.write_text(SUPERVISOR, encoding="utf-8")
    environment = {
        **world.environment(),
        "OCTY_STAFF_AUTH": "off",
        "OCTY_SEALING_KEYS": world.sealing_keys.export(),
        "OCTY_LINK_KEYS": world.peppers.export(),
        "OCTY_PAGES_PORT": str(port),
    }
    with subprocess.Popen([sys.executable, str(program)], env=environment, stderr=subprocess.DEVNULL) as worker:
        try:
            asyncio.run(until_healthy(port))
            [child] = process_ids(worker.pid)
        finally:
            worker.kill()
    until(lambda: not Path(f"/proc/{child}").exists())
    assert not healthy(port)


@contextlib.asynccontextmanager
async def serving(server: WebServer):
    stop = asyncio.Event()
    task = asyncio.create_task(serve_until(stop, server, "the pages"))
    await until_async(lambda: server.started)
    try:
        yield server.port
    finally:
        stop.set()
        await task


def limited(world: World, limits: Limits, counters: list[float], certificate: Certificate | None = None) -> WebServer:
    pages = pages_process.pages_server(world.worker_settings(), world.database)
    files = {} if certificate is None else {"certificate": str(certificate.chain), "private_key": str(certificate.key)}
    return web_server(pages.config.app, host="127.0.0.1", port=0, limits=limits, counters=counters, **files)


POST = b"POST /alert/x/y HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    ("sent", "tls"),
    [
        (b"", True),  # no handshake
        (b"", False),
        (HALF, False),
        (POST + b"Content-Length: 100\r\n\r\nform=", False),
        (HALF + b"\r\n" + HALF, False),  # a whole request, and half of the next
    ],
    ids=["handshake", "nothing", "half a header", "half a body", "half a second header"],
)
def test_idle_connection_is_closed_after_its_timeout(
    world: World, certificate: Certificate, sent: bytes, tls: bool
) -> None:
    limits = Limits(handshake_timeout=0.3, header_timeout=0.3, body_timeout=0.3)
    counters = [0.0] * COUNTERS

    async def act() -> float:
        async with serving(limited(world, limits, counters, certificate if tls else None)) as port:
            begun = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 10)
            writer.close()
            took = time.monotonic() - begun
            await until_async(lambda: not counters[ConnectionCounter.OPEN])
            return took

    assert 0.3 <= asyncio.run(act()) < 5


def test_slow_request_does_not_extend_its_timeout(world: World) -> None:
    async def act() -> float:
        async with serving(limited(world, Limits(header_timeout=0.5), [0.0] * COUNTERS)) as port:
            begun = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            closed = asyncio.create_task(reader.read())
            while not closed.done():
                writer.write(b"G")
                await asyncio.sleep(0.05)
            with contextlib.suppress(ConnectionError):
                await closed
            writer.close()
            return time.monotonic() - begun

    assert asyncio.run(asyncio.wait_for(act(), 20)) < 5


def test_accept_errors_are_logged_once_a_second_and_recover(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without descriptors `accept` fails at once and the listener stays readable: a loop of failures by nature."""
    attempts, broken = [0], [True]

    class Listener(socket.socket):
        def accept(self):
            if broken[0]:
                attempts[0] += 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def act(listener: Listener) -> bool:
        server = limited(world, Limits(), [0.0] * COUNTERS)

        async def listen(_host: str, _port: int) -> list[socket.socket]:
            return [listener]

        monkeypatch.setattr("octy_worker.web.web_server.listen", listen)
        async with serving(server) as port:
            waiting = asyncio.create_task(asyncio.to_thread(healthy, port))
            await asyncio.sleep(1.5)
            broken[0] = False
            return await waiting

    with Listener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert asyncio.run(act(listener))
    assert 1 <= attempts[0] <= 3
    assert caplog.text.count("can't accept connections") == attempts[0]


def test_log_lines_caused_by_clients_are_limited_to_ten_a_second() -> None:
    now = [0.0]
    limited = RateLimitFilter(lambda: now[0])

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, None, None)

    assert sum(limited.filter(record("Invalid HTTP request received.")) for _ in range(1000)) == 10
    assert limited.filter(record("another"))
    now[0] = 1.0
    later = record("Invalid HTTP request received.")
    assert limited.filter(later)
    assert later.getMessage() == "Invalid HTTP request received. [990 more lines of this kind were dropped]"


def test_pages_report_a_database_of_another_schema_version(world: World, caplog: pytest.LogCaptureFixture) -> None:
    empty = Database(f"sqlite:///{world.folder / 'empty.db'}")
    empty.close()
    own = world.worker_settings().model_copy(update={"database_url": f"sqlite:///{world.folder / 'empty.db'}"})
    assert pages_process.serve(own) == 1
    assert "pages: " in caplog.text
