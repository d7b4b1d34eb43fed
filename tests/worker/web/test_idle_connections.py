"""A thousand idle TLS connections with half a header, while descriptors are few: alerts leave, customers are served."""

import asyncio
import contextlib
import http.client
import logging
import re
import resource
import socket
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.paths import EXAMPLES
from support.until import until, until_async
from support.world import World

from octy_worker.dev.customer import Customer
from octy_worker.dev.http_client import http_client
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.dev.processes import free_port, is_listening
from octy_worker.dev.stack import Stack
from octy_worker.observability.metrics.metrics_server import Metrics
from octy_worker.staff.registration import register
from worker.pages.test_pages_process import HALF, process_ids

_log = logging.getLogger(__name__)

CONNECTIONS = 1000
DESCRIPTORS = 1024
MEGABYTE = 1_000_000


class Attacker:
    """Holds idle connections to one port, from one address or from many, and opens what was closed again."""

    def __init__(self, port: int, context: ssl.SSLContext, sources: list[str]) -> None:
        self._port, self._context, self._sources = port, context, sources
        self._held: list[socket.socket] = []
        self._stop = threading.Event()
        self.opened = 0

    @contextlib.contextmanager
    def attacking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._go_on, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: self.opened >= CONNECTIONS)
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            for held in self._held:
                held.close()

    def _go_on(self, number: int) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError):
                self._open(self._sources[(self.opened + number) % len(self._sources)])
            if self.opened >= CONNECTIONS:
                time.sleep(0.02)  # 100 a second from now on: the machine is the victims', too
                self._held.pop(0).close()

    def _open(self, source: str) -> None:
        raw = socket.create_connection(("127.0.0.1", self._port), timeout=5, source_address=(source, 0))
        try:
            held = self._context.wrap_socket(raw, server_hostname="localhost")
            held.sendall(HALF)
        except OSError:
            raw.close()
            raise
        self._held.append(held)
        self.opened += 1


class LimitedStack(Stack):
    """A stack whose worker has few descriptors."""

    def start_worker(self) -> None:
        limited = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh"]
        process = self.processes.start("worker", [*limited, sys.executable, "-m", "octy_worker", "worker"])
        process.wait_until(lambda: self._is_serving(f"{self.pages}/healthz"), 60)


def resident(process: int) -> int:
    """Return the resident set in bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def many_descriptors() -> Iterator[None]:
    """Let this process hold the attacker's ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


SOURCES = {"one address": ["127.0.1.1"], "250 addresses": [f"127.0.1.{last}" for last in range(1, 251)]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, many_descriptors: None) -> Iterator[LimitedStack]:
    with LimitedStack(tmp_path_factory.mktemp("idle") / "stack", fixed_ports=False, examples=EXAMPLES) as stack:
        yield stack


def is_listening_on(pid: int, port: int) -> bool:
    sockets = psutil.Process(pid).net_connections("tcp")
    return any(each.status == psutil.CONN_LISTEN and each.laddr[1] == port for each in sockets)


@pytest.mark.sqlite
@pytest.mark.timeout(240)
@pytest.mark.parametrize("sources", SOURCES)
def test_idle_connections_to_the_pages_delay_neither_alerts_nor_customers(stack: LimitedStack, sources: str) -> None:
    worker = stack.processes["worker"].pid
    log, port = stack.processes["worker"].log, int(stack.pages.rpartition(":")[2])
    [pages] = [pid for pid in process_ids(worker) if is_listening_on(pid, port)]  # the other one is the staff API
    address = f"{sources.replace(' ', '-')}@example.com"
    register(stack.database, sources, {"contact_email_address": address}, actor="test", now=time.time())

    def wait_for_mail(kind: str) -> ReceivedMail:
        return stack.wait_for_mail(kind, lambda mail: (mail.kind, mail.to) == (kind, address), 60)

    first = wait_for_mail("new_keys")
    with Customer(stack.tls_context()) as customer:
        public_key = customer.collect_keys(first).public_key
    before = {"worker": resident(worker), "pages": resident(pages), "log": log.stat().st_size}
    attacker = Attacker(port, stack.tls_context(), SOURCES[sources])
    with attacker.attacking():
        begun = time.monotonic()
        fail(stack, public_key)
        mail = wait_for_mail("alert")
        alert = time.monotonic() - begun
        begun = time.monotonic()
        with Customer(stack.tls_context()) as customer:
            customer.answer_alert(mail, "it_was_us")
        answer = time.monotonic() - begun
        after = {"worker": resident(worker), "pages": resident(pages), "log": log.stat().st_size}
    grown = {name: after[name] - before[name] for name in after}
    _log.info("alert %.1f s, answer %.1f s, grown by %s bytes", alert, answer, grown)
    assert alert < 15
    assert answer < 10
    assert grown["worker"] < 30 * MEGABYTE
    assert grown["pages"] < 150 * MEGABYTE
    assert grown["log"] < 100_000
    assert pages in process_ids(worker)


def fail(stack: Stack, public_key: str) -> None:
    """Make twenty attempts with a wrong secret, on one connection."""
    wrong = b64encode(f"{public_key}:wrong".encode()).decode()
    with http_client(stack.tls_context()) as client:
        for _ in range(20):
            answer = client.get(f"{stack.api}/v1/account/authenticate", headers={"Authorization": f"Basic {wrong}"})
            assert answer.status_code == 401


def test_idle_connections_to_the_metrics_server_use_no_threads(tmp_path: Path) -> None:
    world, port = World(tmp_path), free_port()

    async def act() -> tuple[int, int]:
        stop = asyncio.Event()
        serving = asyncio.create_task(
            Metrics(world.database, time.time, lambda _order: True).serve(
                world.worker_settings(metrics_port=port), stop
            )
        )
        await until_async(lambda: asyncio.to_thread(is_listening, port))
        before = threading.active_count()
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in held:
            writer.write(HALF)
        status = await asyncio.to_thread(scrape, port)
        grown = threading.active_count() - before
        for _, writer in held:
            writer.close()
        stop.set()
        await serving
        return status, grown

    status, grown = asyncio.run(act())
    world.close()
    assert status == 200
    assert grown <= 3  # of the scrape itself


def scrape(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().status
