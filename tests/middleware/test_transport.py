"""Plain HTTP: refused, never redirected; a live key pair that came over it is marked and its customer is told (T10).

And whose word counts for scheme and source: the connection's, then that of the proxies in our own setting (T9).
"""

import asyncio
import json
import socket
import ssl
from typing import Any

import pytest
from support.database_choice import on_one_database
from support.databases import taken_away
from support.server_scopes import Recording, function, http_scope
from support.server_scopes import ask as ask_with_scope
from support.world import FakeRequest, World, basic
from werkzeug.middleware.proxy_fix import ProxyFix

from octy_middleware import OctyASGIMiddleware, Outcome
from octy_middleware.asgi import AsgiRequest
from octy_middleware.wsgi import WsgiRequest

DAY = 86_400.0
UNKNOWN = "pk_" + "0" * 28


def notices(world: World) -> list[tuple]:
    return world.rows(
        "SELECT n.kind, p.public_key, n.detail, o.kind FROM notice n JOIN key_pair p ON p.id = n.key_pair_id "
        "JOIN outbox o ON o.subject_id = n.id ORDER BY n.at"
    )


def test_live_key_pair_over_plain_http_is_refused_marked_exposed_and_notified(world: World, adapter: Any) -> None:
    keys = world.register()
    with world.authenticator() as authenticator, adapter(authenticator, scheme="http", peer="192.0.2.7") as ask:
        sent = {"User-Agent": "curl/8", "X-Request-Id": "r-1"}
        answer = ask("/who", keys.basic(), **sent)
    assert answer.status == 403
    assert json.loads(answer.body)["error"]["errors"][0]["error_message"] == "HTTPS is required."
    assert "location" not in answer.headers
    ((kind, public_key, detail, event),) = notices(world)
    assert (kind, public_key, event) == ("exposed", keys.public_key, "notice_created")
    assert json.loads(detail) == {"source": "192.0.2.7", "user_agent": "curl/8", "request_id": "r-1"}
    ((exposed_at,),) = world.rows("SELECT exposed_at FROM key_pair WHERE public_key = :key", key=keys.public_key)
    assert exposed_at is not None
    assert world.recorded(keys.public_key) == {"plain_http": 1}


@on_one_database  # decided by a record that is loaded
@pytest.mark.parametrize(
    ("state", "header", "exposed"),
    [
        ("active", "right", True),
        ("active", "scheme-less", True),
        ("retiring", "right", True),
        ("active", "wrong", False),
        ("active", "empty", False),
        ("retired", "right", False),
        ("pending", "right", False),
        ("active", "unknown", False),
        ("active", None, False),
        ("active", "Basic !!", False),
        ("active", "Basic " + "A" * 2000, False),
    ],
)
def test_request_over_plain_http_is_403_and_exposes_only_a_right_key_pair(
    world: World, state: str, header: str | None, exposed: bool
) -> None:
    keys = world.register()
    world.set_state(keys, state)
    headers = {
        "right": keys.basic(),
        "scheme-less": keys.basic().removeprefix("Basic "),
        "wrong": keys.basic("sk_wrong"),
        "empty": keys.basic(""),
        "unknown": basic(UNKNOWN, "x"),
    }
    with world.authenticator() as authenticator:
        for _ in range(3):
            request = FakeRequest(headers.get(header or "", header), scheme="http")
            assert authenticator.decide(request).outcome is Outcome.PLAIN_HTTP
    assert len(notices(world)) == exposed
    assert sum(world.recorded().values()) == world.recorded()["plain_http"] == 3
    assert world.rows("SELECT COUNT(*) FROM streak") == [(0,)]


def test_exposed_key_pair_gives_one_notice_a_day(world: World) -> None:
    keys, now = world.register(), [1_800_000_000.0]
    other = world.register("other")
    from octy_middleware import Authenticator

    told = []
    authenticators = [
        Authenticator(world.settings(), clock=lambda: now[0]) for _ in range(2)
    ]  # two processes, as it were
    for hour in range(0, 50, 5):
        now[0] = 1_800_000_000.0 + hour * 3600
        for authenticator in authenticators:
            for _ in range(3):
                authenticator.decide(FakeRequest(keys.basic(), scheme="http"))
        told.append(len(notices(world)) if all(_wrote(authenticator) for authenticator in authenticators) else None)
    for authenticator in authenticators:
        authenticator.decide(FakeRequest(other.basic(), scheme="http"))
        authenticator.close()
    assert told == [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert len(notices(world)) == 3


def _wrote(authenticator: Any) -> bool:
    """Have everything noted so far written."""
    authenticator.decide(FakeRequest(basic(UNKNOWN, "x")))
    return authenticator.health().queued == 0


@on_one_database  # decided by headers
@pytest.mark.parametrize(("trusted", "told"), [((), 0), (("192.0.2.7",), 1)])
def test_untrusted_proxy_is_logged_and_gives_no_notice(
    world: World, adapter: Any, caplog: pytest.LogCaptureFixture, trusted: tuple[str, ...], told: int
) -> None:
    keys = world.register()
    headers = {"X-Forwarded-Proto": "http" if trusted else "https"}
    with (
        world.authenticator(trusted_proxies=trusted) as authenticator,
        adapter(authenticator, scheme="http", peer="192.0.2.7") as ask,
    ):
        assert [ask("/who", keys.basic(), **headers).status for _ in range(3)] == [403] * 3
    assert len(notices(world)) == told
    assert caplog.text.count("set OCTY_TRUSTED_PROXIES") == (0 if trusted else 1)


@on_one_database  # decided by headers
@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({b"x-forwarded-proto": [b"http"]}, 1),
        ({b"x-forwarded-proto": [b"https, http"]}, 1),
        ({b"x-forwarded-proto": [b""]}, 1),
        ({b"x-forwarded-proto": [b"https"], b"forwarded": [b"for=192.0.2.9;proto=http"]}, 1),
        ({b"forwarded": [b"for=192.0.2.9"]}, 1),
        ({b"x-forwarded-proto": [b"https"]}, 0),
        ({b"forwarded": [b'for="[::1]";proto=https']}, 0),
    ],
    ids=["http", "a plain hop", "empty", "they disagree", "nothing of the scheme", "https", "https, forwarded"],
)
def test_untrusted_headers_prevent_exposure_only_if_they_claim_https_for_every_hop(
    world: World, headers: dict[bytes, list[bytes]], told: int
) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        request = FakeRequest(keys.basic(), scheme="http", headers=headers)
        assert authenticator.decide(request).outcome is Outcome.PLAIN_HTTP
    assert len(notices(world)) == told


def test_cached_key_pair_over_plain_http_is_refused(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        assert authenticator.decide(FakeRequest(keys.basic(), scheme="http")).outcome is Outcome.PLAIN_HTTP
    assert len(notices(world)) == 1


def test_plain_http_is_403_during_a_database_outage(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        world.database.close()
        with taken_away(world.url):
            assert authenticator.decide(FakeRequest(keys.basic(), scheme="http")).outcome is Outcome.PLAIN_HTTP


# Whose word counts


class Owner:
    """A server's own object, whose bound method an app gets as `receive`."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request"}


class Nested:
    def __init__(self, transport: Any) -> None:
        self.protocol = Owner(transport)

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request"}


class Wire(asyncio.Transport):
    """A connection as asyncio shows it."""


class OtherWire:
    """A connection as uvloop shows it: alike, and no subclass."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5)}.get(name, default)


REWRITTEN = {"scheme": "https", "client": ("192.0.2.66", 0), "headers": []}


@pytest.mark.parametrize(
    ("receive", "peer", "scheme"),
    [
        (Owner(Wire({"peername": ("127.0.0.1", 5)})).receive, "127.0.0.1", "http"),
        (Owner(Wire({"peername": ("127.0.0.1", 5), "ssl_object": object()})).receive, "127.0.0.1", "https"),
        (Nested(Wire({"peername": ("::1", 5, 0, 0)})).receive, "::1", "http"),
        (Owner(OtherWire()).receive, "127.0.0.1", "http"),
        (Owner(Wire({"peername": ""})).receive, None, "http"),
        (Owner(object()).receive, "192.0.2.66", "https"),
        (function, "192.0.2.66", "https"),
    ],
    ids=["plain", "tls", "nested", "another loop", "unix socket", "no transport", "a function"],
)
def test_peer_and_scheme_are_taken_from_the_connection_when_available(
    receive: Any, peer: str | None, scheme: str
) -> None:
    request = AsgiRequest(dict(REWRITTEN), receive)
    assert (request.peer, request.scheme) == (peer, scheme)


def test_peer_of_a_closed_gunicorn_socket_counts_as_not_replaced() -> None:
    with socket.socket() as closed:
        pass
    assert not WsgiRequest({"REMOTE_ADDR": "192.0.2.7", "gunicorn.socket": closed}).has_replaced_peer


def test_scheme_is_taken_from_the_gunicorn_socket() -> None:
    left, right = socket.socketpair()
    secure = ssl.create_default_context().wrap_socket(right, do_handshake_on_connect=False, server_hostname="x")
    with left, secure:
        assert WsgiRequest({"wsgi.url_scheme": "https", "gunicorn.socket": left}).scheme == "http"
        assert WsgiRequest({"wsgi.url_scheme": "http", "gunicorn.socket": secure}).scheme == "https"
    assert WsgiRequest({"wsgi.url_scheme": "https"}).scheme == "https"


# An unknown scheme or address


def ask_without_scheme(authenticator: Any, authorization: str, *more: tuple[bytes, bytes], **given: Any) -> int:
    """Open a WebSocket as daphne does; return 101, or the code with which it was closed."""
    headers = [(b"authorization", authorization.encode()), *more]
    scope = http_scope(headers, type="websocket", client=("192.0.2.7", 5), **given)
    del scope["scheme"]
    middleware = OctyASGIMiddleware(Recording(), authenticator=authenticator)  # type: ignore[arg-type]
    [message] = asyncio.run(ask_with_scope(middleware, scope, function)).sent
    return 101 if message["type"] == "websocket.accept" else int(message["code"])


@on_one_database  # decided by headers
def test_scope_without_a_scheme_is_refused_without_exposure_and_notice(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        assert [ask_without_scheme(authenticator, keys.basic()) for _ in range(2)] == [1008, 1008]
    assert notices(world) == []
    assert world.rows("SELECT exposed_at FROM key_pair WHERE public_key = :key", key=keys.public_key) == [(None,)]
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "does not say whether they came over TLS" in said
    assert "OCTY_REQUIRE_HTTPS=0" in said


@on_one_database  # decided by headers
def test_scope_without_a_scheme_is_accepted_by_proxy_headers_or_setting(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        assert ask_without_scheme(authenticator, keys.basic(), extensions={"tls": {"server_cert": None}}) == 101
    with world.authenticator(trusted_proxies=("192.0.2.7",)) as authenticator:
        assert ask_without_scheme(authenticator, keys.basic(), (b"x-forwarded-proto", b"https")) == 101
    with world.authenticator(require_https=False) as authenticator:
        assert ask_without_scheme(authenticator, keys.basic()) == 101


def below_proxy_fix(environ: dict[str, Any]) -> WsgiRequest:
    """Return the request as it is behind Werkzeug's ProxyFix in front of the middleware."""
    seen: list[dict[str, Any]] = []
    fixed = ProxyFix(lambda environ, _start: seen.append(environ) or [], x_for=1, x_proto=1)  # type: ignore[func-returns-value]
    fixed(environ, print)  # type: ignore[arg-type]
    return WsgiRequest(seen[0])


@on_one_database  # decided by headers
def test_proxy_is_the_peer_below_proxy_fix_and_is_named_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    keys = world.register()
    environ = {
        "REMOTE_ADDR": "10.0.0.1",
        "wsgi.url_scheme": "http",
        "HTTP_X_FORWARDED_FOR": "203.0.113.9",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_AUTHORIZATION": keys.basic(),
    }
    with world.authenticator() as authenticator:
        assert authenticator.decide(below_proxy_fix(environ)).outcome is Outcome.PLAIN_HTTP
    assert notices(world) == []
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "10.0.0.1" in said
    assert "203.0.113.9" not in said
    with world.authenticator(trusted_proxies=("10.0.0.1",)) as authenticator:
        assert authenticator.decide(below_proxy_fix(environ)).outcome is Outcome.ACCEPTED


class Socket:
    """gunicorn's connection to a proxy that speaks the PROXY protocol."""

    def getpeername(self) -> tuple[str, int]:
        return "10.0.0.1", 5


@on_one_database  # decided by headers
@pytest.mark.parametrize(
    "environ",
    [
        {"gunicorn.socket": Socket()},  # the PROXY protocol
        {"HTTP_X_FORWARDED_FOR": "203.0.113.9"},  # something in front of us that keeps nothing aside
    ],
)
def test_log_does_not_advise_to_trust_a_client_address_in_place_of_the_proxy(
    world: World, caplog: pytest.LogCaptureFixture, environ: dict[str, Any]
) -> None:
    keys = world.register()
    asked = {"REMOTE_ADDR": "203.0.113.9", "HTTP_X_FORWARDED_PROTO": "https", "wsgi.url_scheme": "http", **environ}
    with world.authenticator() as authenticator:
        request = WsgiRequest({**asked, "HTTP_AUTHORIZATION": keys.basic()})
        assert authenticator.decide(request).outcome is Outcome.PLAIN_HTTP
    assert notices(world) == []
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "the client's address, 203.0.113.9" in said
    assert "never addresses of clients" in said


@on_one_database  # decided by headers
@pytest.mark.parametrize("claim", ["HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_SSL"])
def test_headers_that_uwsgi_trusts_do_not_make_plain_http_secure(world: World, claim: str) -> None:
    keys = world.register()
    environ = {"uwsgi.version": b"2.0.28", "wsgi.url_scheme": "https", "REMOTE_ADDR": "192.0.2.7", claim: "https"}
    with world.authenticator() as authenticator:
        asked = WsgiRequest({**environ, "HTTP_AUTHORIZATION": keys.basic()})
        assert authenticator.decide(asked).outcome is Outcome.PLAIN_HTTP
    assert notices(world) == []
    assert WsgiRequest({**environ, claim: "http"}).scheme == ""
    del environ[claim]
    assert WsgiRequest(environ).scheme == "https"  # of uWSGI's own TLS, or of the web server that speaks its protocol
