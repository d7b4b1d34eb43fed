"""The webhook client over real TLS, with well-behaved and misbehaving servers."""

import gzip
import logging
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from support.smtp_servers import Authority
from support.webhook_rig import (
    ACCOUNT,
    KEYS,
    NOW,
    client,
    documented_check,
    message,
)
from support.webhooks import Receiver, raw_server, receiver

from octy_middleware import ConfigurationError
from octy_worker.webhooks import network
from octy_worker.webhooks.failures import FailureReason, PostError, PostResult
from octy_worker.webhooks.signing import Signer

is_genuine = documented_check()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("webhooks"))


@pytest.fixture
def server(authority: Authority) -> Iterator[Receiver]:
    with receiver(authority.serving()) as served:
        yield served


def test_webhook_post_is_signed_and_has_no_other_headers(authority: Authority, server: Receiver) -> None:
    sent = message(server.url)
    assert client(authority, lambda: NOW + 0.9).post(sent) == PostResult(None, 204)
    [heard] = server.heard
    assert heard.path == "/octy?team=7"
    assert heard.body == sent.body
    assert is_genuine(Signer(KEYS).secret(ACCOUNT), heard.headers, heard.body, now=lambda: NOW)
    assert heard.headers["webhook-timestamp"] == str(int(NOW))
    assert heard.headers["host"] == server.url.split("/")[2]
    assert heard.headers["connection"] == "close"
    assert set(heard.headers) == {
        *("host", "user-agent", "content-type", "content-length", "connection"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }


def test_webhook_retry_has_a_new_timestamp_and_the_same_id(authority: Authority, server: Receiver) -> None:
    """So a receiver that refuses what is older than 5 minutes still takes an event that is a day late."""
    for late in (0, 86_400):
        client(authority, lambda late=late: NOW + late).post(message(server.url))
    first, second = server.heard
    assert first.body == second.body
    assert server.ids == ["w-1", "w-1"]
    secret = Signer(KEYS).secret(ACCOUNT)
    assert is_genuine(secret, second.headers, second.body, now=lambda: NOW + 86_400)
    assert not is_genuine(secret, first.headers, first.body, now=lambda: NOW + 86_400)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, ""),
        (202, ""),
        (299, ""),
        (304, "redirect-304"),
        (400, "status-400"),
        (401, "status-401"),
        (404, "status-404"),
        (410, "gone"),
        (429, "status-429"),
        (500, "status-500"),
        (503, "status-503"),
    ],
)
def test_webhook_response_status_gives_its_result(
    authority: Authority, server: Receiver, status: int, code: str
) -> None:
    server.statuses = [status]
    assert client(authority).post(message(server.url)).code == code


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_webhook_redirect_is_reported_and_not_followed(authority: Authority, server: Receiver, status: int) -> None:
    server.statuses, server.location = [status], server.url.replace("/octy", "/elsewhere")
    assert client(authority).post(message(server.url)) == PostResult(FailureReason.REDIRECT, status)
    assert [request.path for request in server.heard] == ["/octy?team=7"]


def test_webhook_client_sends_no_cookie_back(authority: Authority, server: Receiver) -> None:
    sender = client(authority)
    for _ in range(2):
        sender.post(message(server.url))
    assert "cookie" not in server.heard[1].headers


def test_webhook_client_ignores_proxy_variables(
    authority: Authority, server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client(authority).post(message(server.url)).reason is None


# Certificates


def test_webhook_server_of_an_unknown_ca_is_not_trusted(server: Receiver) -> None:
    assert client(None).post(message(server.url)).reason is FailureReason.UNTRUSTED
    assert server.heard == []


def test_webhook_certificate_for_another_name_is_not_trusted(authority: Authority) -> None:
    with receiver(authority.serving("elsewhere.example")) as server:
        assert client(authority).post(message(server.url)).reason is FailureReason.UNTRUSTED
        assert server.heard == []


def test_unreadable_webhook_ca_file_is_rejected(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="OCTY_WEBHOOK_CA_FILE can't be used"):
        client(None, webhook_ca_file="/no/such.pem")


# Where it may go


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("localhost", None),
        ("127.1", None),
        ("0x7f000001", None),
        ("2130706433", None),
        ("0", None),
        ("hooks.acme.example", ["10.0.0.7"]),
        ("hooks.acme.example", ["169.254.169.254"]),
        ("hooks.acme.example", ["1.1.1.1", "127.0.0.1"]),
        ("hooks.acme.example", ["::ffff:127.0.0.1"]),
    ],
)
def test_webhook_client_connects_to_no_private_address(
    authority: Authority, server: Receiver, monkeypatch: pytest.MonkeyPatch, host: str, addresses: list[str] | None
) -> None:
    if addresses:
        monkeypatch.setattr(network, "resolve", lambda _host, _port: addresses)
    monkeypatch.setattr(network.httpcore.SyncBackend, "connect_tcp", lambda *_: pytest.fail("it was connected to"))
    url = server.url.replace("localhost", host)
    assert client(authority, webhook_allow_private=False).post(message(url)).reason is FailureReason.REFUSED_ADDRESS


def test_webhook_client_is_safe_from_dns_rebinding(
    authority: Authority, server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what is checked is what is connected to, for the name is looked up once."""
    asked, connected = [], []
    monkeypatch.setattr(network, "is_public", lambda address: asked.append(address) is None)
    monkeypatch.setattr(network, "resolve", lambda host, _port: ["127.0.0.1"] if host == "localhost" else [])
    plain = network.httpcore.SyncBackend.connect_tcp

    def connect(self, host, *rest):
        connected.append(host)
        return plain(self, host, *rest)

    monkeypatch.setattr(network.httpcore.SyncBackend, "connect_tcp", connect)
    assert client(authority, webhook_allow_private=False).post(message(server.url)).reason is None
    assert asked == connected == ["127.0.0.1"]


def test_webhook_client_tries_the_next_address(
    authority: Authority, server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "resolve", lambda _host, _port: ["127.0.0.9", "127.0.0.1"])
    assert client(authority).post(message(server.url)).reason is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", FailureReason.NO_URL),
        ("http://localhost/", FailureReason.NOT_HTTPS),
        ("https://user:password@localhost/", FailureReason.USER_IN_URL),
        ("https://no-such-name.invalid/", FailureReason.UNKNOWN_NAME),
        (f"https://{'a' * 64}.example/", FailureReason.UNKNOWN_NAME),
        ("https://a..example/", FailureReason.UNKNOWN_NAME),
        ("https://127.0.0.1:9/", FailureReason.NO_CONNECTION),
    ],
)
def test_webhook_client_reports_an_invalid_url(authority: Authority, url: str, reason: FailureReason) -> None:
    assert client(authority).post(message(url)).reason is reason


def test_webhook_client_without_keys_sends_nothing(authority: Authority, server: Receiver) -> None:
    assert client(authority, webhook_keys=None).post(message(server.url)).reason is FailureReason.OFF
    assert server.heard == []


# Servers that misbehave


def read_request(connection: socket.socket) -> None:
    while b"\r\n\r\n" not in connection.recv(65_536):
        pass


def drip(connection: socket.socket) -> None:
    read_request(connection)
    for _ in range(100):
        connection.sendall(b"H")
        time.sleep(0.05)


def hang(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def never_end(connection: socket.socket) -> None:
    """The answer's head is there; its body never is."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
    hang(connection)


def endless_head(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x-more: and more\r\n" * 1000)


def huge(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")
    bomb = gzip.compress(b"\0" * 1_000_000)
    while True:
        connection.sendall(bomb * 16)


def hang_up(connection: socket.socket) -> None:
    read_request(connection)


def babble(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"220 smtp.acme.example ESMTP\r\n")


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (drip, FailureReason.TOO_SLOW),
        (hang, FailureReason.TOO_SLOW),
        (never_end, None),
        (endless_head, FailureReason.BROKEN),
        (huge, None),
        (hang_up, FailureReason.BROKEN),
        (babble, FailureReason.BROKEN),
    ],
)
def test_webhook_client_limits_a_misbehaving_server(
    authority: Authority, act: Callable[[socket.socket], None], reason: FailureReason | None
) -> None:
    with raw_server(act, authority.serving()) as url:
        begun = time.monotonic()
        assert client(authority, webhook_timeout=0.3).post(message(url)).reason is reason
        assert time.monotonic() - begun < 2


def test_webhook_client_times_out_on_an_endless_tls_handshake(authority: Authority) -> None:
    """The first bytes of TLS never come."""
    with raw_server(hang) as url:
        sent = client(authority, webhook_timeout=0.2).post(message(url.replace("http:", "https:")))
    assert sent.reason is FailureReason.TOO_SLOW


def test_plain_http_server_behind_an_https_url_is_no_connection(authority: Authority) -> None:
    with raw_server(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")) as url:
        sent = client(authority).post(message(url.replace("http:", "https:")))
    assert sent.reason is FailureReason.NO_CONNECTION


def test_webhook_client_times_out_on_slow_name_resolution(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "resolve", lambda _host, _port: time.sleep(0.5) or [])
    assert (
        client(authority, webhook_timeout=0.1).post(message("https://slow.example/")).reason is FailureReason.TOO_SLOW
    )


def test_webhook_client_connects_to_no_server_after_its_deadline() -> None:
    clock = iter([0.0, 2.0])
    backend = network.PublicNetworkBackend(timeout=1.0, allow_private=True, monotonic=lambda: next(clock))
    with pytest.raises(PostError) as late:
        backend.connect_tcp("127.0.0.1", 9)
    assert late.value.reason is FailureReason.TOO_SLOW


def test_webhook_client_accepts_http_with_its_setting() -> None:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with raw_server(answer) as url:
        assert client(webhook_allow_http=True).post(message(url)) == PostResult(None, 204)


def test_webhook_client_debug_log_has_nothing_of_the_server(
    authority: Authority, server: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A path may be a password of the customer's, many services work so; and an answer may set a cookie."""
    caplog.set_level(logging.DEBUG)
    assert client(authority).post(message(server.url)).reason is None
    logging.getLogger("octy").debug("written")
    assert [record.message for record in caplog.records if record.threadName == "MainThread"] == ["written"]
