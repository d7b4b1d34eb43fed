"""The secret is removed at the middleware: neither the app nor an error tracker sees it."""

import asyncio
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from support.paths import TESTS
from support.world import Keys, World

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.http.hidden_credentials import hide_in_environ


@pytest.fixture
def database_kind() -> str:
    """Of one kind: the database sees no headers."""
    return "sqlite"


class ErrorTracker:
    """Keeps what trackers send home: the request as they were given it, and the local variables of each frame."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def capture(self, error: BaseException, request: dict[str, Any]) -> None:
        assert error.__traceback__ is not None
        below = error.__traceback__.tb_next  # the caller's own frame holds what it sends
        frames = traceback.TracebackException(type(error), error, below, capture_locals=True)
        self.sent += [repr(request), *frames.format()]


def ask_asgi(
    authenticator: Authenticator, authorization: str | None, path: str = "/who"
) -> tuple[dict[str, Any], ErrorTracker]:
    seen: dict[str, Any] = {}
    tracker = ErrorTracker()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        raise LookupError("a fault of the app")

    async def ask() -> None:
        headers = [(b"host", b"api.example"), (b"x-request-id", b"1")]
        if authorization is not None:
            headers.insert(1, (b"authorization", authorization.encode()))
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "scheme": "https", "headers": headers}
        scope["client"] = ("203.0.113.9", 50_000)
        try:
            await OctyASGIMiddleware(app, authenticator=authenticator)(scope, asyncio.Queue().get, asyncio.Queue().put)
        except LookupError as error:
            tracker.capture(error, scope)

    asyncio.run(ask())
    return seen, tracker


def ask_wsgi(
    authenticator: Authenticator, authorization: str | None, path: str = "/who"
) -> tuple[dict[str, Any], ErrorTracker]:
    seen: dict[str, Any] = {}
    tracker = ErrorTracker()

    def app(environ: Any, start_response: Any) -> Any:
        seen.update(environ)
        raise LookupError("a fault of the app")

    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.url_scheme": "https"}
    environ["REMOTE_ADDR"] = "203.0.113.9"
    if authorization is not None:
        environ["HTTP_AUTHORIZATION"] = authorization
    try:
        OctyWSGIMiddleware(app, authenticator=authenticator)(environ, lambda *_: print)
    except LookupError as error:
        tracker.capture(error, environ)
    return seen, tracker


Ask = Callable[..., tuple[dict[str, Any], ErrorTracker]]
asked = pytest.mark.parametrize("ask", [ask_asgi, ask_wsgi])


def header_of(seen: dict[str, Any]) -> str | None:
    if "headers" in seen:
        return next((value.decode() for name, value in seen["headers"] if name == b"authorization"), None)
    return seen.get("HTTP_AUTHORIZATION")


def is_in(secret_holder: Keys, texts: list[str]) -> bool:
    return any(secret_holder.secret in text or secret_holder.basic()[6:] in text for text in texts)


@asked
def test_app_and_error_tracker_do_not_see_the_secret_of_an_accepted_request(world: World, ask: Ask) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        for _ in range(3):  # by a look-up, by memory, by the remembered header
            seen, tracker = ask(authenticator, keys.basic())
            assert seen, "the app was asked"
            assert header_of(seen) is None
            assert tracker.sent
            assert not is_in(keys, tracker.sent)
            assert "x-request-id" in repr(seen) or "REMOTE_USER" in seen, "the rest is left as it is"


@asked
def test_header_stays_when_the_host_asks_for_it(world: World, ask: Ask) -> None:
    keys = world.register()
    with world.authenticator(hide_credentials=False) as authenticator:
        assert header_of(ask(authenticator, keys.basic())[0]) == keys.basic()


@asked
def test_header_stays_on_exempt_paths(world: World, ask: Ask) -> None:
    with world.authenticator(exempt_paths=("/login",)) as authenticator:
        assert header_of(ask(authenticator, "Bearer of-the-app", "/login")[0]) == "Bearer of-the-app"


@asked
def test_accepted_key_pair_is_hidden_with_optional_credentials(world: World, ask: Ask) -> None:
    keys = world.register()
    with world.authenticator(optional=True) as authenticator:
        assert ask(authenticator, None)[0], "requests without credentials pass"
        assert header_of(ask(authenticator, keys.basic())[0]) is None


def test_django_rest_framework_default_authentication_accepts_the_principal(world: World) -> None:
    keys = world.register("acme")
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "OCTY_DATABASE_URL": world.url,
        "OCTY_PEPPERS": world.peppers.export(),
    }
    command = [sys.executable, "-m", "support.rest_framework_site", keys.basic(), keys.basic("wrong")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers.keys() == {"wsgi", "asgi"}
    for right, wrong in answers.values():
        assert right == [200, {"user": "acme"}]
        assert wrong[0] == 401


@pytest.mark.parametrize(
    "environ",
    [
        {
            "apig_wsgi.full_event": {
                "headers": None,
                "multiValueHeaders": {"authorization": ["<secret>"], "host": ["a"]},
            }
        },
        {"serverless.event": {"headers": {"Authorization": "<secret>", "host": "a"}}},
        {"asgi.scope": {"headers": [(b"host", b"a"), (b"authorization", b"<secret>")]}},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_wsgi_objects_kept_by_adapters_lose_only_the_secret(environ: dict[str, Any]) -> None:
    asked = {"HTTP_AUTHORIZATION": "<secret>", **environ}
    hide_in_environ(asked)
    assert "<secret>" not in repr(asked)
    assert "host" in repr(asked)
