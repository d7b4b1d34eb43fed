"""The proxy does to connections what it is told, and leaves servers alone."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from octy_worker.dev.processes import LOOPBACK
from proofs.faults.tcp_proxy import Mode, Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says back what it hears."""
    server = socket.create_server((LOOPBACK, 0))

    def say_back(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while heard := connection.recv(100):
                connection.sendall(heard)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=say_back, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=0.3)


def test_it_passes(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_it_refuses_and_resets(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        client.recv(100)
        proxy.set(Mode.REFUSE)
        with pytest.raises(OSError, match=r"refused|reset"):
            connect(proxy)
        with pytest.raises(OSError, match="reset"):
            client.recv(100)
    proxy.set(Mode.PASS)
    with connect(proxy) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"


def test_it_stalls_and_goes_on(proxy: Proxy) -> None:
    proxy.set(Mode.STALL)
    with connect(proxy) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.set(Mode.PASS)
        assert client.recv(100) == b"hello"


def test_it_delays_each_way(proxy: Proxy) -> None:
    proxy.set(Mode.DELAY, 0.1)
    with connect(proxy) as client:
        begun = time.monotonic()
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    assert time.monotonic() - begun >= 0.2
