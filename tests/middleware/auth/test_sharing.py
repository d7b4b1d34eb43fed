"""Adapters of a process with equal settings share one authenticator."""

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient as LitestarClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from support.database_choice import on_one_database
from support.forks import in_child
from support.world import FakeRequest, Keys, World
from werkzeug.test import Client

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware, Settings
from octy_middleware.auth import sharing
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.keychain import Keychain

ROUTES = 30


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Authenticator]]:
    """Every authenticator that is built while the test runs; closed at its end."""
    authenticators: list[Authenticator] = []

    class Counted(Authenticator):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            authenticators.append(self)

    monkeypatch.setattr(sharing, "Authenticator", Counted)
    yield authenticators
    for authenticator in authenticators:
        authenticator.close()


async def who(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.user.display_name})


def ask_all(client: Any, keys: Keys) -> set[int]:
    with ThreadPoolExecutor(8) as clients:
        paths = [f"/{number}" for number in range(ROUTES)]
        return set(clients.map(lambda p: client.get(p, headers={"Authorization": keys.basic()}).status_code, paths))


def connections(world: World) -> int:
    return int(world.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")[0][0])


def test_thirty_routes_of_starlette_share_one_authenticator(world: World, built: list[Authenticator]) -> None:
    keys, threads = world.register(), threading.active_count()
    middleware = Middleware(OctyASGIMiddleware, settings=world.settings())
    app = Starlette(routes=[Route(f"/{number}", who, middleware=[middleware]) for number in range(ROUTES)])
    with TestClient(app, base_url="https://api.example") as client:
        assert ask_all(client, keys) == {200}
        assert len(built) == 1
        assert threading.active_count() - threads < 8
        if world.database_kind == "postgresql":
            assert connections(world) < 12


@on_one_database  # shared by their settings
def test_thirty_routes_of_litestar_share_one_authenticator(world: World, built: list[Authenticator]) -> None:
    keys = world.register()

    def adapter(app: Any) -> OctyASGIMiddleware:
        return OctyASGIMiddleware(app, settings=world.settings())

    def handler(number: int) -> Any:
        @get(f"/{number}", name=str(number), sync_to_thread=False)
        def answer() -> dict[str, int]:
            return {"number": number}

        return answer

    app = Litestar([handler(number) for number in range(ROUTES)], middleware=[adapter], openapi_config=None)
    with LitestarClient(app, base_url="https://api.example") as client:
        assert ask_all(client, keys) == {200}
    assert len(built) == 1


@on_one_database  # shared by their settings
@pytest.mark.parametrize(
    "other",
    [
        {"threshold": 21},
        {"peppers": Keychain({"k1": b"1" * 32})},
        {"on_refusal": lambda refusal, _request: refusal},
    ],
    ids=["a setting", "peppers", "refusals"],
)
def test_other_settings_get_another_authenticator(world: World, other: dict[str, Any]) -> None:
    others = dict(other)
    shape = others.pop("on_refusal", None)
    first = OctyWSGIMiddleware(list, settings=world.settings())
    second = OctyWSGIMiddleware(list, settings=world.settings(**others), on_refusal=shape)
    assert first.authenticator is not second.authenticator
    first.close()
    second.close()


@on_one_database  # shared by their settings
def test_order_of_peppers_is_part_of_the_settings_key(world: World) -> None:
    one, two = b"1" * 32, b"2" * 32
    assert Keychain({"a": one, "b": two}) == Keychain({"b": two, "a": one})
    first, second = (
        OctyWSGIMiddleware(list, settings=world.settings(peppers=Keychain(keys)))
        for keys in ({"a": one, "b": two}, {"b": two, "a": one})
    )
    assert first.authenticator is not second.authenticator


@on_one_database  # shared by their settings
def test_settings_key_of_shared_authenticators_holds_no_pepper(world: World) -> None:
    assert world.peppers.export().partition(":")[2] not in repr(sharing.settings_key(world.settings()))


@on_one_database  # shared by their settings
def test_adapters_opened_at_once_share_an_authenticator(world: World, built: list[Authenticator]) -> None:
    settings, at_once = world.settings(), threading.Barrier(8)

    def open_adapter(_number: int) -> OctyWSGIMiddleware:
        at_once.wait()
        return OctyWSGIMiddleware(list, settings=settings)

    with ThreadPoolExecutor(8) as threads:
        adapters = list(threads.map(open_adapter, range(8)))
    assert len(built) == len({adapter.authenticator for adapter in adapters}) == 1


@contextmanager
def noting_closed(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    closed: list[str] = []
    really = authenticator.close
    monkeypatch.setattr(authenticator, "close", lambda: (closed.append("closed"), really()))
    yield closed


def test_last_adapter_closes_the_authenticator_and_each_one_writes_queued_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = world.register()
    first, second = (OctyWSGIMiddleware(list, settings=world.settings(batch_delay=1.0)) for _ in range(2))
    with noting_closed(first.authenticator, monkeypatch) as closed:
        assert first.authenticator.decide(FakeRequest(keys.basic())).passes
        first.close()
        first.close()  # once more is no other adapter
        assert (world.recorded(), closed) == ({"accepted": 1}, [])
        assert second.authenticator.decide(FakeRequest(keys.basic())).passes
        second.close()
        assert (world.recorded(), closed) == ({"accepted": 2}, ["closed"])


@on_one_database  # shared by their settings
def test_authenticator_is_released_with_its_adapters(world: World, built: list[Authenticator]) -> None:
    for _ in range(2):
        adapter = OctyWSGIMiddleware(list, settings=world.settings())
        built.pop().close()
        del adapter
        gc.collect()
        assert built == []


def test_child_forked_while_an_adapter_is_opened_can_open_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    holding, over = threading.Event(), threading.Event()

    def build(*arguments: Any, **options: Any) -> Authenticator:
        if not holding.is_set():  # the first one: its adapter is being opened until the test is over
            holding.set()
            over.wait(30)
        return Authenticator(*arguments, **options)

    def open_and_close() -> None:
        OctyWSGIMiddleware(list, settings=world.settings()).close()

    monkeypatch.setattr(sharing, "Authenticator", build)
    thread = threading.Thread(target=open_and_close)
    thread.start()
    assert holding.wait(30)
    try:
        assert in_child(open_and_close) == 0
    finally:
        over.set()
        thread.join()


@on_one_database  # shared by their settings
def test_given_authenticator_is_shared(world: World) -> None:
    with world.authenticator() as authenticator:
        assert {
            OctyWSGIMiddleware(list, authenticator=authenticator).authenticator,
            OctyASGIMiddleware(who, authenticator=authenticator).authenticator,
        } == {authenticator}  # type: ignore[arg-type]


def test_nested_apps_behind_the_middleware_verify_once(world: World) -> None:
    keys = world.register("acme")
    middleware = [Middleware(OctyASGIMiddleware, settings=world.settings())]
    inner = Starlette(routes=[Route("/who", who)], middleware=middleware)
    outer = Starlette(routes=[Mount("/inner", inner)], middleware=middleware)
    with TestClient(outer, base_url="https://api.example") as client:
        answer = client.get("/inner/who", headers={"Authorization": keys.basic()})
    assert (answer.status_code, answer.json()) == (200, {"user": "acme"})
    assert world.recorded() == {"accepted": 1}


def test_inner_request_of_an_app_is_decided_by_its_own_credentials(world: World) -> None:
    keys = world.register()
    statuses: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return []

    inner = OctyWSGIMiddleware(app, settings=world.settings())

    def batch(environ: Any, start_response: Any) -> Any:
        for authorization in ({}, {"HTTP_AUTHORIZATION": keys.basic("wrong")}):
            inner({**environ, **authorization}, lambda status, _headers: statuses.append(status))
        return app(environ, start_response)

    outer = OctyWSGIMiddleware(batch, settings=world.settings())
    Client(outer).get("/", base_url="https://x", headers={"Authorization": keys.basic()}).close()
    outer.close()
    inner.close()
    assert statuses == ["200 OK", "401 Unauthorized"]
    assert world.recorded() == {"accepted": 1, "wrong_secret": 1}


@on_one_database  # shared by their settings
def test_equal_settings_from_options_and_from_the_environment_share(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTY_DATABASE_URL", world.url)
    monkeypatch.setenv("OCTY_PEPPERS", world.peppers.export())
    by_variables = OctyWSGIMiddleware(list)
    by_options = OctyWSGIMiddleware(list, database_url=world.url, peppers=world.peppers)
    assert by_variables.authenticator is by_options.authenticator
    assert by_variables.authenticator.settings == Settings.build(database_url=world.url, peppers=world.peppers)
    assert by_variables.authenticator.decide(FakeRequest("Basic ???")).outcome is Outcome.MALFORMED
    by_variables.close()
    by_options.close()
