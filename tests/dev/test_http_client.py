"""The client of demo and dev, against a server that closes kept connections as the next request arrives."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context

import httpx2
import pytest
import uvicorn

from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.customer import Customer, Keys
from octy_worker.dev.http_client import KEEPALIVE_EXPIRY, RetryingTransport, http_client
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.web.connections import Limits

KEY, SECRET = "pk_" + "N" * 28, "sk_" + "S" * 49
PAGE = f"<form method=post><button name=reveal value=once>Show</button></form><p>{KEY} {SECRET}</p>"


class Server(ThreadingHTTPServer):
    """Answers `answered` requests on each connection, then closes it without a word as the next one arrives."""

    answered = 1

    def __init__(self, context: SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.read: list[tuple[int, str]] = []  # connection and method of each request
        self.connections = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.number, self.left = self.server.connections, self.server.answered

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.read.append((self.number, self.command))
        if self.left == 0:
            self.close_connection = True
            return
        self.left -= 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE.encode())

    do_POST = do_GET  # noqa: N815  # http.server's own names

    def log_message(self, *_words: object) -> None: ...


@pytest.fixture
def tls(tmp_path: Path) -> SSLContext:
    return create_default_context(cafile=ensure_certificate(tmp_path).ca)


@pytest.fixture
def server(tmp_path: Path, tls: SSLContext) -> Iterator[Server]:  # makes the certificate
    certificate = ensure_certificate(tmp_path)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    with Server(context) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_request_on_a_connection_that_the_server_closed_is_sent_again(server: Server, tls: SSLContext) -> None:
    with http_client(tls, base_url=server.url) as client:
        assert [client.get("/").status_code for _ in range(3)] == [200, 200, 200]
    first, second, again = server.read[:3]
    assert first == second == (1, "GET")
    assert again == (2, "GET")


def test_request_on_a_new_connection_is_sent_once(server: Server, tls: SSLContext) -> None:
    server.answered = 0
    with http_client(tls, base_url=server.url) as client, pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        client.get("/")
    assert server.read == [(1, "GET")]


def test_request_that_changes_something_has_a_connection_of_its_own(server: Server, tls: SSLContext) -> None:
    with http_client(tls, base_url=server.url) as client:
        client.get("/")
        assert [client.post("/").status_code for _ in range(2)] == [200, 200]
    assert server.read == [(1, "GET"), (2, "POST"), (3, "POST")]


def test_connection_is_not_used_again_after_its_time(server: Server, tls: SSLContext) -> None:
    server.answered = 2
    with httpx2.Client(transport=RetryingTransport(tls, keepalive_expiry=0.0)) as client:
        assert [client.get(server.url).status_code for _ in range(2)] == [200, 200]
    assert server.read == [(1, "GET"), (2, "GET")]


def test_connections_are_kept_for_less_time_than_servers_keep_them() -> None:
    async def app(*_asgi: object) -> None: ...

    assert min(Limits().idle_timeout, uvicorn.Config(app, log_config=None).timeout_keep_alive) > KEEPALIVE_EXPIRY


def test_customer_gets_keys_from_a_server_that_closes_kept_connections(
    server: Server, tls: SSLContext, tmp_path: Path
) -> None:
    links = (f"{server.url}/keys/T",)
    mail = ReceivedMail(tmp_path, "a@example.com", "Your keys", "<1@x>", KEY, "", datetime.now(UTC), links)
    with Customer(tls) as customer:
        assert [customer.collect_keys(mail) for _ in range(2)] == [Keys(KEY, SECRET)] * 2
