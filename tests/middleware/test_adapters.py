"""Both adapters over real apps: Starlette and Flask give the same responses and pass on the same facts."""

import asyncio
import json
import time
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from support.adapters import ADAPTERS, Answer, asgi, starlette_app
from support.database_choice import on_one_database
from support.server_scopes import Recording, function, http_scope
from support.server_scopes import ask as ask_with_scope
from support.world import World, basic
from werkzeug.test import Client

from octy_middleware import Authenticator, ConfigurationError, OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.asgi import AsgiRequest

UNKNOWN = "pk_" + "0" * 28


def test_right_key_pair_reaches_the_app_with_its_principal(world: World, adapter: Any) -> None:
    keys = world.register("acme")
    with world.authenticator(scopes=("authenticated", "read")) as authenticator, adapter(authenticator) as ask:
        answer = ask("/who", keys.basic())
    assert (answer.status, json.loads(answer.body)) == (200, {"user": "acme", "scopes": ["authenticated", "read"]})


@on_one_database  # the adapter sees no database
def test_schemeless_header_of_go_clients_is_accepted(world: World, adapter: Any) -> None:
    keys = world.register("acme")
    with world.authenticator() as authenticator, adapter(authenticator) as ask:
        assert ask("/who", keys.basic().removeprefix("Basic ")).status == 200
    with world.authenticator(schemeless=False) as authenticator, adapter(authenticator) as ask:
        assert ask("/who", keys.basic().removeprefix("Basic ")).status == 401


@on_one_database  # the adapter sees no database
def test_both_adapters_send_the_same_bytes(world: World) -> None:
    keys = world.register()
    cases = [None, keys.basic("no"), basic(UNKNOWN, "x"), "Bearer x", "Basic ", "Basic " + "A" * 3000]
    answers: dict[str, list[Answer]] = {}
    for name, open_adapter in ADAPTERS.items():
        with world.authenticator() as authenticator, open_adapter(authenticator) as ask:
            answers[name] = [ask("/who", case) for case in cases]
    assert answers["asgi"] == answers["wsgi"]
    assert [answer.status for answer in answers["asgi"]] == [401, 401, 401, 401, 401, 431]


def test_unknown_wrong_and_retired_are_the_same_bytes(world: World, adapter: Any) -> None:
    keys, old = world.register("now"), world.register("old")
    world.set_state(old, "retired")
    with world.authenticator() as authenticator, adapter(authenticator) as ask:
        answers = [
            ask("/who", header)
            for header in (basic(UNKNOWN, "x"), keys.basic("no"), keys.basic(""), old.basic(), old.basic("no"))
        ]
    assert all(answer == answers[0] for answer in answers)
    body = json.loads(answers[0].body)
    assert body["error"]["code"] == 401
    assert body["error"]["errors"][0]["error_message"]
    assert answers[0].headers["www-authenticate"] == 'Basic realm="Octy API", charset="UTF-8"'
    assert answers[0].headers["cache-control"] == "no-store"
    assert answers[0].headers["content-type"] == "application/json; charset=utf-8"


def test_refusal_is_committed_before_it_is_sent(world: World, adapter: Any) -> None:
    keys = world.register()
    with world.authenticator() as authenticator, adapter(authenticator) as ask:
        for number in range(1, 6):
            assert ask("/who", keys.basic("no")).status == 401
            assert world.recorded(keys.public_key) == {"wrong_secret": number}


@on_one_database  # the adapter sees no database
def test_problem_json_is_sent_when_the_client_prefers_it(world: World, adapter: Any) -> None:
    with world.authenticator() as authenticator, adapter(authenticator) as ask:
        answer = ask("/who", Accept="application/problem+json")
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == 401


@on_one_database  # the adapter sees no database
def test_head_request_gets_headers_without_body(world: World, adapter: Any) -> None:
    with world.authenticator() as authenticator, adapter(authenticator) as ask:
        answer, full = ask("/who", method="HEAD"), ask("/who")
    assert (answer.status, answer.body) == (401, b"")
    assert answer.headers["content-length"] == full.headers["content-length"]


@on_one_database  # the adapter sees no database
def test_exempt_paths_have_no_principal(world: World, adapter: Any) -> None:
    keys = world.register()
    with world.authenticator(exempt_paths=("/open",)) as authenticator, adapter(authenticator) as ask:
        assert json.loads(ask("/open").body) == {"user": False}
        assert json.loads(ask("/open", keys.basic("no")).body) == {"user": False}
    assert world.recorded() == {}


@on_one_database  # the adapter sees no database
def test_user_of_an_outer_middleware_is_kept_on_exempt_paths(world: World) -> None:
    with world.authenticator(exempt_paths=("/open",)) as authenticator:
        middleware = OctyASGIMiddleware(Recording(), authenticator=authenticator)  # type: ignore[arg-type]
        scope = http_scope([], path="/open", client=("192.0.2.1", 1), user="somebody")
        answered = asyncio.run(ask_with_scope(middleware, scope, function))
    assert answered.scope is not None
    assert answered.scope["user"] == "somebody"


@on_one_database  # the adapter sees no database
def test_forged_remote_user_is_removed(world: World) -> None:
    seen: list[object] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ.get("REMOTE_USER"))
        start_response("200 OK", [])
        return []

    with world.authenticator(exempt_paths=("/open",)) as authenticator:
        middleware = OctyWSGIMiddleware(app, authenticator=authenticator)
        Client(middleware).get("/open", base_url="https://x", environ_overrides={"REMOTE_USER": "admin"}).close()
    assert seen == [None]


@on_one_database  # the adapter sees no database
def test_scopes_work_with_starlette_requires(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator, asgi(authenticator) as ask:
        assert ask("/billing", keys.basic()).status == 403
    with world.authenticator(scopes=("billing",)) as authenticator, asgi(authenticator) as ask:
        assert ask("/billing", keys.basic()).status == 200


@on_one_database  # the adapter sees no database
def test_exempt_paths_are_relative_to_the_mounted_app(world: World) -> None:
    with world.authenticator(exempt_paths=("/open",)) as authenticator:
        inner = starlette_app(authenticator)
        with TestClient(Starlette(routes=[Mount("/api", inner)]), base_url="https://x") as client:
            assert client.get("/api/open").status_code == 200
            assert client.get("/api/who").status_code == 401


@on_one_database  # the adapter sees no database
def test_websocket_is_refused_before_it_is_accepted(world: World) -> None:
    keys = world.register()

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(socket.user.display_name)
        await socket.close()

    with world.authenticator() as authenticator:
        app = Starlette(
            routes=[WebSocketRoute("/ws", talk)],
            middleware=[Middleware(OctyASGIMiddleware, authenticator=authenticator)],
        )
        with TestClient(app, base_url="https://x") as client:
            with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("wss://x/ws"):
                pass
            assert denied.value.status_code == 401
            with client.websocket_connect("wss://x/ws", headers={"Authorization": keys.basic()}) as socket:
                assert socket.receive_text() == "acme"


def test_end_of_the_lifespan_writes_queued_events(world: World) -> None:
    keys = world.register()
    authenticator = Authenticator(world.settings(batch_delay=1.0))
    with TestClient(starlette_app(authenticator), base_url="https://x") as client:
        client.get("/who", headers={"Authorization": keys.basic()})
    assert world.recorded(keys.public_key) == {"accepted": 1}


@pytest.mark.parametrize("middleware", [OctyASGIMiddleware, OctyWSGIMiddleware])
def test_invalid_settings_fail_at_once_with_what_to_do(middleware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCTY_PEPPERS", raising=False)
    with pytest.raises(ConfigurationError, match="OCTY_PEPPERS is not set"):
        middleware(lambda *_: None)
    with pytest.raises(ConfigurationError, match="realm"):
        middleware(lambda *_: None, peppers=f"k1:{'00' * 32}", realm='Oc"ty')
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        middleware(lambda *_: None, peppers=f"k1:{'00' * 32}", trusted_proxies=("proxy.example",))


@pytest.mark.parametrize("name", ADAPTERS)
def test_wrong_secrets_during_a_long_write_lock_are_503_and_each_counts_once(world: World, name: str) -> None:
    keys = world.register()
    with world.authenticator(commit_timeout=0.4) as authenticator, ADAPTERS[name](authenticator) as ask:
        assert ask("/who", keys.basic()).status == 200
        with world.database.write():
            assert [ask("/who", keys.basic("no")).status for _ in range(3)] == [503, 503, 503]
            assert ask("/who", keys.basic()).status == 200
        deadline, after = time.monotonic() + 10, 1
        while ask("/who", keys.basic("no")).status != 401:
            after += 1
            assert time.monotonic() < deadline
    assert world.rows("SELECT length FROM streak WHERE public_key = :key AND network = ''", key=keys.public_key) == [
        (after,)
    ]
    recorded = world.recorded(keys.public_key)
    assert recorded == {"wrong_secret": 3 + after, "accepted": 2}


def test_client_disconnect_loses_no_event(world: World) -> None:
    """Its task is cancelled while the commit is awaited: the attempt counts, and the recorder lives on."""
    keys = world.register()

    async def story(middleware: OctyASGIMiddleware) -> None:
        scope = http_scope([(b"authorization", keys.basic("no").encode())], client=("192.0.2.1", 1))
        for _ in range(5):
            task = asyncio.create_task(ask_with_scope(middleware, dict(scope), function))
            await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await ask_with_scope(middleware, dict(scope), function)).scope is None  # refused

    with world.authenticator() as authenticator:
        asyncio.run(story(OctyASGIMiddleware(Recording(), authenticator=authenticator)))  # type: ignore[arg-type]
    assert 1 <= world.recorded(keys.public_key)["wrong_secret"] <= 6


@pytest.mark.parametrize(
    ("root", "path", "headers", "expected"),
    [
        ("", "/health", [], "/health"),
        ("/api", "/api/health", [], "/health"),
        ("/api", "/api", [], "/"),
        ("/api", "/apix/health", [], "/apix/health"),
        ("/api/", "/api/health", [], "/api/health"),  # as Starlette routes it
        (
            "/api",
            "/api/health",
            [(b"Daphne-Root-Path", b"/api")],
            "/api/health",
        ),  # by a client: any route would be exempt
    ],
)
def test_paths_are_relative_to_the_mount_point_unless_the_client_names_it(
    root: str, path: str, headers: list[tuple[bytes, bytes]], expected: str
) -> None:
    assert AsgiRequest({"path": path, "root_path": root, "headers": headers}).path == expected
