"""The proxy passes, refuses, stalls and delays connections, and does not disturb the server."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from octy_worker.dev.processes import LOOPBACK
from proofs.faults.tcp_proxy import Mode, TcpProxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(100):
                self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with TcpProxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=0.3)


def test_pass_forwards(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_refuse_resets_connections_until_pass(proxy: TcpProxy) -> None:
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


def test_stall_holds_data_until_pass(proxy: TcpProxy) -> None:
    proxy.set(Mode.STALL)
    with connect(proxy) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.set(Mode.PASS)
        assert client.recv(100) == b"hello"


def test_delay_applies_each_way(proxy: TcpProxy) -> None:
    proxy.set(Mode.DELAY, 0.1)
    with connect(proxy) as client:
        begun = time.monotonic()
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    assert time.monotonic() - begun >= 0.2
