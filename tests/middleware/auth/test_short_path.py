"""The short path: which settings and requests take it, how many calls it makes, and what it leaves alone."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from support.database_choice import on_one_database
from support.forks import fork_untold
from support.server_scopes import Connection, Queue, Recording, ask, function, http_scope
from support.world import Keys, World

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware, Settings
from octy_middleware.auth.short_path import ShortPath

HEADERS = [(b"host", b"api.example"), (b"user-agent", b"test"), (b"accept", b"*/*"), (b"x-request-id", b"r-1")]
MAX_CALLS = 14


class Asgi:
    """An ASGI adapter that is asked as by uvicorn; or by granian, with new tuples and no access to the connection."""

    def __init__(self, authenticator: Authenticator, keys: Keys, *, by_granian: bool = False) -> None:
        self.adapter = OctyASGIMiddleware(Recording(), authenticator=authenticator)  # type: ignore[arg-type]
        self.connection = Connection("203.0.113.9", 50_000, tls=True)
        self.receive = Queue().get if by_granian else self.connection.receive
        self.by_granian = by_granian
        self.authorization = (b"authorization", keys.basic().encode())
        self.inner = Recording.__call__.__code__

    def ask(self) -> int:
        host, port = client = self.connection.client
        scope = http_scope([*HEADERS, self.authorization], client=(host, port) if self.by_granian else client)
        return int(asyncio.run(ask(self.adapter, scope, self.receive)).sent[0]["status"])


class Wsgi:
    """A WSGI adapter that is asked as by waitress."""

    def __init__(self, authenticator: Authenticator, keys: Keys) -> None:
        self.adapter = OctyWSGIMiddleware(self._app, authenticator=authenticator)
        self.environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/v1/things",
            "REMOTE_ADDR": "203.0.113.9",
            "wsgi.url_scheme": "https",
            "HTTP_HOST": "api.example",
            "HTTP_AUTHORIZATION": keys.basic(),
        }
        self.inner = self._app.__code__
        self.status = 0

    @staticmethod
    def _app(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    def ask(self) -> int:
        def start(status: str, _headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], object]:
            self.status = int(status[:3])
            return bytes

        list(self.adapter(dict(self.environ), start))
        return self.status


CLIENTS: dict[str, Callable[[Authenticator, Keys], Any]] = {
    "ASGI, as by uvicorn": Asgi,
    "ASGI, as by granian": lambda authenticator, keys: Asgi(authenticator, keys, by_granian=True),
    "WSGI": Wsgi,
}


@pytest.fixture(params=CLIENTS)
def client_of(request: pytest.FixtureRequest) -> Callable[[Authenticator, Keys], Any]:
    return CLIENTS[request.param]


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of requests that the full path decided."""
    seen: list[str] = []
    real = Authenticator.decide_from_memory

    def decide(self: Authenticator, request: Any) -> Any:
        seen.append(request.path)
        return real(self, request)

    monkeypatch.setattr(Authenticator, "decide_from_memory", decide)
    return seen


@pytest.fixture
def keys(world: World) -> Keys:
    return world.register()


@pytest.fixture
def authenticator(world: World) -> Iterator[Authenticator]:
    with world.authenticator() as authenticator:
        yield authenticator


def calls_of(client: Any) -> list[str]:
    """Return the names of the calls, in Python and in C, from the adapter's `__call__` to the call of its app."""
    names: list[str] = []
    outermost = type(client.adapter).__call__.__code__
    is_inside = False

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal is_inside
        if event == "call":
            is_inside = (is_inside or frame.f_code is outermost) and frame.f_code is not client.inner
        if is_inside and event in ("call", "c_call"):
            names.append(argument.__qualname__ if event == "c_call" else frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        assert client.ask() == 200
    finally:
        sys.setprofile(None)
    return names


@on_one_database  # decided in memory
def test_accepted_request_takes_at_most_14_calls(authenticator: Authenticator, keys: Keys, client_of: Any) -> None:
    client = client_of(authenticator, keys)
    for _ in range(3):  # loaded, put into the header cache, in this second
        assert client.ask() == 200
    taken = min((calls_of(client) for _ in range(5)), key=len)  # a second may begin in one of them
    assert taken[0].endswith("Middleware.__call__")
    assert "HeaderCache.get" in taken
    assert len(taken) <= MAX_CALLS, taken


def test_full_path_is_needed_for_the_first_requests_only(
    world: World, authenticator: Authenticator, keys: Keys, client_of: Any, decided: list[str]
) -> None:
    client = client_of(authenticator, keys)
    assert [client.ask() for _ in range(10)] == [200] * 10
    assert 1 <= len(decided) <= 3
    authenticator.close()
    assert world.recorded() == {"accepted": 10}


@on_one_database  # decided in memory
@pytest.mark.parametrize(
    "options",
    [
        {"trusted_proxies": ("192.0.2.7",)},
        {"exempt_paths": ("/health",)},
        {"hsts": 60},
        {"hide_credentials": False},
        {"commit_before_response": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_unusual_setting_means_the_full_path_for_every_request(
    world: World, keys: Keys, client_of: Any, decided: list[str], options: dict[str, Any]
) -> None:
    with world.authenticator(**options) as authenticator:
        assert authenticator.short_path is None
        client = client_of(authenticator, keys)
        assert [client.ask() for _ in range(4)] == [200] * 4
    assert len(decided) == 4


@on_one_database  # decided in memory
@pytest.mark.parametrize("require_https", [True, False])
def test_default_settings_have_a_short_path(world: World, *, require_https: bool) -> None:
    assert Settings.build(peppers=world.peppers).require_https
    with world.authenticator(require_https=require_https) as authenticator:
        assert isinstance(authenticator.short_path, ShortPath)


@on_one_database  # decided in memory
@pytest.mark.parametrize(
    "mark",
    [{"gunicorn.socket": object()}, {"uwsgi.version": b"2"}, {"werkzeug.proxy_fix.orig": {}}],
    ids=lambda mark: next(iter(mark)),
)
def test_environ_with_a_server_s_mark_is_left_to_the_full_path(
    authenticator: Authenticator, keys: Keys, mark: dict[str, object]
) -> None:
    client = Wsgi(authenticator, keys)
    assert client.ask() == client.ask() == 200
    assert authenticator.short_path is not None
    assert authenticator.short_path.accept_environ(dict(client.environ)) is not None
    assert authenticator.short_path.accept_environ({**client.environ, **mark}) is None


@on_one_database  # decided in memory
def test_tuple_that_is_not_the_connection_s_is_left_to_the_full_path(authenticator: Authenticator, keys: Keys) -> None:
    """uvicorn puts the address of a forwarding header into a new tuple, which may equal that of a connection."""
    client = Asgi(authenticator, keys)
    assert client.ask() == client.ask() == 200
    accept, connection = authenticator.short_path.accept_scope, client.connection  # type: ignore[union-attr]
    headers = [*HEADERS, client.authorization]
    assert accept(http_scope(headers, client=connection.client), connection.receive) is not None
    copied = (connection.client[0], connection.client[1])
    for scope in (
        http_scope(headers, client=copied),
        http_scope(headers, client=connection.client, scheme="http"),
        http_scope(headers, client=None),
        {name: value for name, value in http_scope(headers, client=copied).items() if name != "client"},
        http_scope(headers, client=["203.0.113.9", 50_000]),
        http_scope([*headers, client.authorization], client=connection.client),
        http_scope(HEADERS, client=connection.client),
    ):
        assert accept(scope, connection.receive) is None, scope
    assert accept(http_scope(headers, client=copied), function) is not None  # an outer middleware's: the scope counts


@on_one_database  # decided in memory
@pytest.mark.parametrize("change", ["no transport any more", "another peer", "another scheme"])
def test_scope_that_differs_from_its_connection_stays_on_the_full_path(
    world: World, keys: Keys, decided: list[str], change: str
) -> None:
    with world.authenticator(require_https=False) as authenticator:
        client = Asgi(authenticator, keys)
        if change == "no transport any more":
            client.connection.transport = None  # type: ignore[assignment]
        elif change == "another peer":
            client.connection.client = ("198.51.100.7", 50_000)
        else:
            client.connection.transport = Connection("203.0.113.9", 50_000, tls=False).transport
        assert [client.ask() for _ in range(4)] == [200] * 4
    assert len(decided) == 4


@on_one_database  # decided in memory
def test_short_path_hides_the_header_in_a_new_list(authenticator: Authenticator, keys: Keys) -> None:
    client = Asgi(authenticator, keys)
    assert client.ask() == client.ask() == 200
    sent = [HEADERS[0], client.authorization, *HEADERS[1:]]
    scope = http_scope(sent, client=client.connection.client)
    assert authenticator.short_path is not None
    principal = authenticator.short_path.accept_scope(scope, client.connection.receive)
    assert principal is not None
    assert principal.public_key == keys.public_key
    assert scope["headers"] == HEADERS
    assert len(sent) == len(HEADERS) + 1


def test_child_of_a_fork_in_c_does_not_use_the_parent_s_caches(
    world: World, authenticator: Authenticator, keys: Keys, client_of: Any, decided: list[str]
) -> None:
    client = client_of(authenticator, keys)
    assert [client.ask() for _ in range(3)] == [200] * 3

    def work() -> None:
        del decided[:]
        assert [client.ask() for _ in range(4)] == [200] * 4
        assert 1 <= len(decided) <= 3
        authenticator.close()

    assert fork_untold(work) == 0
    authenticator.close()
    assert world.recorded() == {"accepted": 7}


@on_one_database  # decided in memory
def test_known_clients_are_bounded(authenticator: Authenticator, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octy_middleware.auth.short_path.MAX_CLIENTS", 3)
    short_path = authenticator.short_path
    assert short_path is not None
    client = Asgi(authenticator, keys)
    connections = [Connection(f"203.0.113.{number}", 50_000 + number, tls=True) for number in range(10)]
    for connection in connections:
        client.connection, client.receive = connection, connection.receive
        assert client.ask() == client.ask() == 200
    scopes = [http_scope([client.authorization], client=connection.client) for connection in connections]
    pairs = zip(scopes, connections, strict=True)
    known = [short_path.accept_scope(scope, connection.receive) is not None for scope, connection in pairs]
    assert known[-1]
    assert sum(known) <= 3
