"""The short path decides, answers, hides and records as the full path does: the same generated requests through both.

Both play the same steps, one after the other, on the same database, which is reset between them.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.server_scopes import Connection, Queue, Recording, ask, function, http_scope
from support.world import Keys, World, basic

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.auth import header_cache
from octy_middleware.db.bulk_sql import run
from octy_middleware.domain import key_pairs

START = 1_800_000_000.25
ADDRESSES = ("203.0.113.9", "2001:db8::7")
NAMES = ("acme", "other", "revoked", "expiring")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Ask:
    """A request. `values`: names of Authorization values with their places among the other headers."""

    server: str
    connection: int
    values: tuple[tuple[str, int, bytes], ...]
    scheme: str
    method: str = "GET"
    path: str = "/v1/things"
    kind: str = "http"


@dataclass(frozen=True)
class Happening:
    """What comes between requests: the clock moves, a key pair is revoked, memory is not trusted, a fork."""

    what: str
    amount: float = 0.0


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain HTTP": {"require_https": False},
    "optional": {"optional": True},
    "a short queue": {"queue_limit": 2},
    "an urgent queue": {"queue_limit": 1},
    "one header": {"header_cache_size": 1},
    "no schemeless": {"schemeless": False},
    "exempt paths": {"exempt_paths": ("/health",)},
    "shown": {"hide_credentials": False},
    "proxies": {"trusted_proxies": ("203.0.113.9",)},
    "hsts": {"hsts": 60},
}

likely = ("acme", "acme", "acme", "other")
values = st.one_of(
    st.sampled_from(likely).map(lambda name: [name]),
    st.lists(
        st.sampled_from((*NAMES, "no scheme", "wrong", "unknown", "malformed", "basic", "empty")),
        min_size=0,
        max_size=3,
    ),
)
headers = values.flatmap(
    lambda some: st.tuples(
        *(
            st.tuples(st.just(name), st.integers(0, 4), st.sampled_from([b"authorization"] * 5 + [b"Authorization"]))
            for name in some
        )
    )
)
happenings = st.one_of(
    st.builds(Happening, st.just("clock"), st.sampled_from([0.1, 0.8, 1.0, 20.0, 61.0, -3.0])),
    st.builds(Happening, st.sampled_from(["revoke", "distrust", "fork"])),
)


def steps_of(servers: tuple[str, ...], kinds: tuple[str, ...]) -> st.SearchStrategy[list[Ask | Happening]]:
    asks = st.builds(
        Ask,
        server=st.sampled_from(servers),
        connection=st.integers(0, 3),
        values=headers,
        scheme=st.sampled_from(["https", "https", "http"]),
        method=st.sampled_from(["GET", "GET", "POST", "HEAD"]),
        path=st.sampled_from(["/v1/things", "/v1/things", "/health"]),
        kind=st.sampled_from(kinds),
    )
    regular = st.builds(
        Ask,
        server=st.sampled_from(servers[:2]),
        connection=st.sampled_from([0, 0, 2, 1]),
        values=st.integers(0, 4).map(lambda place: (("acme", place, b"authorization"),)),
        scheme=st.just("https"),
    )

    def around(usual: Ask) -> st.SearchStrategy[list[Ask | Happening]]:
        """Return steps that begin with a client which the caches come to know, and go on with it and with others."""
        step = st.one_of(
            st.just(usual),
            st.just(usual),
            asks,
            asks.map(lambda other: replace(other, values=usual.values)),
            happenings,
        )
        return st.lists(step, max_size=10).map(lambda steps: [*[usual] * 4, *steps])

    return regular.flatmap(around)


@dataclass
class Stage:
    """A database with four key pairs, and how one authenticator at a time is asked on it."""

    world: World
    keys: dict[str, Keys]
    pair_ids: dict[str, str]
    asked: int = 0  # requests so far
    fully: int = 0  # requests that the full path decided

    def header(self, name: str) -> str:
        """Return an Authorization value by its name."""
        acme = self.keys["acme"]
        others = {
            "no scheme": acme.basic().removeprefix("Basic "),
            "wrong": acme.basic("sk_wrong"),
            "unknown": basic("pk_" + "0" * 28, "x"),
            "malformed": "Basic !!",
            "basic": acme.basic().replace("Basic", "basic"),
            "empty": "",
        }
        return others[name] if name in others else self.keys[name].basic()

    def reset(self) -> None:
        """Undo what a run has left in the database."""
        with self.world.database.write() as connection:
            for table in ("outcome_minute", "attempt", "streak", "incident_count", "outbox", "notice", "app_process"):
                run(connection, f"DELETE FROM {table}")
            run(
                connection,
                "UPDATE key_pair SET state = 'active', retire_at = NULL, retired_at = NULL, first_used_at = NULL, "
                "last_used_at = NULL, exposed_at = NULL",
            )
            ends_at = round((START + 30) * 1e6)
            run(
                connection,
                "UPDATE key_pair SET state = 'retiring', retire_at = ? WHERE id = ?",
                ends_at,
                self.pair_ids["expiring"],
            )
            for keys in self.keys.values():
                key_pairs.record_key_change(connection, keys.public_key, START)

    def rows(self) -> dict[str, list[tuple]]:
        """Return what was recorded, without the ids that are random."""
        return {
            "counts": self.world.rows(
                "SELECT public_key, minute, source, outcome, count FROM outcome_minute ORDER BY 1, 2, 3, 4"
            ),
            "details": self.world.rows(
                "SELECT at, public_key, key_hash, outcome, source, user_agent, method, path FROM attempt ORDER BY "
                "1, 2, 3, 4, 5, 6, 7, 8"
            ),
            "streaks": self.world.rows(
                "SELECT public_key, network, length, first_at, last_at FROM streak ORDER BY 1, 2"
            ),
            "keys": self.world.rows(
                "SELECT public_key, state, first_used_at, last_used_at, exposed_at FROM key_pair ORDER BY 1"
            ),
            "notices": self.world.rows("SELECT kind, at FROM notice ORDER BY 2"),
        }


class Player(ABC):
    """Plays steps on one authenticator, and keeps what each request got."""

    def __init__(self, stage: Stage, clock: Clock, authenticator: Authenticator, *, shortly: bool) -> None:
        if not shortly:
            authenticator.short_path = None
        self.stage = stage
        self.clock = clock
        self.authenticator = authenticator
        self.answers: list[object] = []
        self.connections = [Connection(host, 50_000, tls=tls) for host in ADDRESSES for tls in (True, False)]
        self.forked = False
        self.decide = authenticator.decide_from_memory
        authenticator.decide_from_memory = self.count_and_decide  # type: ignore[method-assign]

    def count_and_decide(self, request: Any) -> Any:
        self.stage.fully += 1
        return self.decide(request)

    def close(self) -> None:  # noqa: B027  # a WSGI player has nothing to close
        """Close what is the player's own."""

    def play(self, steps: list[Ask | Happening]) -> None:
        for step in steps:
            if isinstance(step, Happening):
                self.happen(step)
            else:
                self.stage.asked += 1
                with self.mark():
                    self.answers.append(self.ask(step))

    def happen(self, step: Happening) -> None:
        if step.what == "clock":
            self.authenticator.flush()  # what a row says of a clock that goes back depends on the commits
            self.clock.now += step.amount
        elif step.what == "revoke":
            with self.stage.world.database.write() as connection:
                key_pairs.retire(connection, self.stage.pair_ids["revoked"], self.clock.now)
                key_pairs.retire(connection, self.stage.pair_ids["other"], self.clock.now)
        elif step.what == "distrust":
            self.authenticator.key_cache.memory.trusted_until = 0.0
        else:
            self.forked = True

    @contextmanager
    def mark(self) -> Iterator[None]:
        """Have the first request after a fork find the process's mark cleared. What restarts is another test's."""
        real, header_cache.process_mark = header_cache.process_mark, bytearray([not self.forked])
        try:
            yield
        finally:
            header_cache.process_mark, self.forked = real, False

    @abstractmethod
    def ask(self, step: Ask) -> object:
        """Send the request; return the response and what the app was given."""


class AsgiPlayer(Player):
    """Asks as ASGI servers do, and with what changes a scope in front of the middleware."""

    servers = ("uvicorn", "granian", "rewritten", "scheme rewritten", "wrapped", "daphne", "unix")
    kinds = ("http", "http", "http", "websocket")

    def __init__(self, stage: Stage, clock: Clock, authenticator: Authenticator, *, shortly: bool) -> None:
        super().__init__(stage, clock, authenticator, shortly=shortly)
        self.adapter = OctyASGIMiddleware(Recording(), authenticator=authenticator)  # type: ignore[arg-type]
        self.runner = asyncio.Runner()

    def ask(self, step: Ask) -> object:
        client, receive, scheme = self.origin(step)
        sent = [(b"host", b"api.example"), (b"user-agent", b"test"), (b"x-request-id", b"r-1"), (b"accept", b"*/*")]
        for name, place, spelling in step.values:
            sent.insert(place, (spelling, self.stage.header(name).encode()))
        given = {"type": step.kind, "path": step.path, "scheme": scheme.replace("http", "ws", step.kind == "websocket")}
        scope = http_scope(sent, **given, client=client)
        if step.kind == "http":
            scope["method"] = step.method
        answered = self.runner.run(ask(self.adapter, scope, receive))
        if answered.scope is not None and "octy.accepted_by" in answered.scope:
            assert answered.scope.pop("octy.accepted_by") is self.authenticator
            answered.scope["accepted"] = True
        return answered

    def close(self) -> None:
        self.runner.close()

    def origin(self, step: Ask) -> tuple[Any, Any, str]:
        """Return client, `receive` and scheme as a server gives them."""
        connection = self.connections[step.connection]
        host, port = connection.client
        unix: Any = Connection("", 0, tls=False)
        unix.transport = asyncio.Transport({"peername": ""})
        return {
            "uvicorn": (connection.client, connection.receive, connection.scheme),
            "rewritten": ((ADDRESSES[step.connection % 2], 50_000), connection.receive, step.scheme),
            "scheme rewritten": (connection.client, connection.receive, step.scheme),
            "wrapped": (connection.client, function, step.scheme),
            "granian": ((host, port), Queue().get, connection.scheme),
            "daphne": ([host, port], Queue().get, connection.scheme),
            "unix": (None, unix.receive, step.scheme),
        }[step.server]


class WsgiPlayer(Player):
    """Asks as WSGI servers do, and below Werkzeug's ProxyFix."""

    servers = ("waitress", "waitress", "gunicorn", "uwsgi", "proxy fix", "unix")
    kinds = ("http",)

    def __init__(self, stage: Stage, clock: Clock, authenticator: Authenticator, *, shortly: bool) -> None:
        super().__init__(stage, clock, authenticator, shortly=shortly)
        self.seen: dict[str, Any] | None = None
        self.adapter = OctyWSGIMiddleware(self.app, authenticator=authenticator)

    def app(self, environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        self.seen = dict(environ)
        start_response("200 OK", [])
        return [b"ok"]

    def ask(self, step: Ask) -> object:
        connection, self.seen = self.connections[step.connection], None
        environ = {"REQUEST_METHOD": step.method, "PATH_INFO": step.path, "HTTP_USER_AGENT": "test"}
        environ |= {"HTTP_X_REQUEST_ID": "r-1", "REMOTE_USER": "somebody"}
        environ |= {"REMOTE_ADDR": connection.client[0], "wsgi.url_scheme": connection.scheme}
        given = [self.stage.header(name) for name, _, spelling in step.values if spelling == b"authorization"]
        if given:
            environ["HTTP_AUTHORIZATION"] = ",".join(given)
        if step.server == "unix":
            del environ["REMOTE_ADDR"]
        original = {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": step.scheme}
        environ |= {
            "gunicorn": {"gunicorn.socket": Socket()},
            "uwsgi": {"uwsgi.version": b"2.0", "HTTP_X_FORWARDED_PROTO": "https"},
            "proxy fix": {"werkzeug.proxy_fix.orig": original},
        }.get(step.server, {})
        started: list[object] = []
        body = b"".join(self.adapter(environ, lambda *given: started.append(given) or bytes))
        if self.seen is not None and "octy.accepted_by" in self.seen:
            assert self.seen.pop("octy.accepted_by") is self.authenticator
            self.seen["accepted"] = True
        return started, body, self.seen


class Socket:
    """gunicorn's connection, without TLS."""

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.2", 5

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Socket)

    def __hash__(self) -> int:
        return 0


PLAYERS: dict[str, type[AsgiPlayer | WsgiPlayer]] = {"asgi": AsgiPlayer, "wsgi": WsgiPlayer}


def play(
    stage: Stage, player: type[Player], options: str, steps: list[Ask | Happening], *, shortly: bool
) -> tuple[list[object], dict[str, list[tuple]]]:
    """Play the steps from the start; return what every request got, and what was recorded."""
    stage.reset()
    clock = Clock()
    with stage.world.authenticator(clock, **OPTIONS[options]) as authenticator:
        one = player(stage, clock, authenticator, shortly=shortly)
        with closing(one):
            one.play(steps)
    return one.answers, stage.rows()


@pytest.mark.parametrize("adapter", PLAYERS)
def test_short_path_and_full_path_give_the_same(world: World, adapter: str) -> None:
    some = {name: world.register(name) for name in NAMES}
    ids = {key: pair_id for pair_id, key in world.rows("SELECT id, public_key FROM key_pair")}
    stage = Stage(world, some, {name: ids[keys.public_key] for name, keys in some.items()})
    player = PLAYERS[adapter]

    # Both paths ask the same of the recorder: few examples show what a server adds, and one takes three times as long.
    examples = 40 if world.database_kind == "sqlite" else 10

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(options=st.sampled_from(list(OPTIONS)), steps=steps_of(player.servers, player.kinds))
    def check(options: str, steps: list[Ask | Happening]) -> None:
        (answers, rows), (wanted_answers, wanted_rows) = (
            play(stage, player, options, steps, shortly=shortly) for shortly in (True, False)
        )
        assert answers == wanted_answers
        for table in wanted_rows:
            assert rows[table] == wanted_rows[table], table

    check()
    taken = stage.asked - stage.fully
    # Else the same path was compared with itself. Examples are random: about half of them take it.
    assert taken >= examples / 8, stage.asked
