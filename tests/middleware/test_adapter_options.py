"""Options of both adapters: optional credentials, HSTS, the refusal hook, the rate limit."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.adapters import Ask, asgi
from support.database_choice import on_one_database
from support.world import World, basic

from octy_middleware import Authenticator, ConfigurationError, ErrorResponse, OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.http.request import Request

UNKNOWN = "pk_" + "0" * 28


@pytest.fixture
def database_kind() -> str:
    """Of one kind: what differs between databases is below these options."""
    return "sqlite"


def test_optional_accepts_missing_credentials_as_unauthenticated_and_refuses_wrong_ones(
    world: World, adapter: Any
) -> None:
    keys = world.register()
    with world.authenticator(optional=True) as authenticator, adapter(authenticator) as ask:
        assert json.loads(ask("/maybe").body) == {"user": None}
        assert json.loads(ask("/maybe", "").body) == {"user": None}
        assert json.loads(ask("/maybe", keys.basic()).body) == {"user": "acme"}
        refused = [ask("/maybe", header).status for header in (keys.basic("no"), basic(UNKNOWN, "x"), "Basic !", "x,y")]
        assert refused == [401, 401, 401, 400]
    assert world.recorded() == {"accepted": 1, "wrong_secret": 1, "unknown_key": 1, "malformed": 1, "ambiguous": 1}


def test_optional_refuses_credentials_over_plain_http(world: World, adapter: Any) -> None:
    with world.authenticator(optional=True) as authenticator, adapter(authenticator, scheme="http") as ask:
        assert ask("/maybe").status == 403
    with (
        world.authenticator(optional=True, require_https=False) as authenticator,
        adapter(authenticator, scheme="http") as ask,
    ):
        assert json.loads(ask("/maybe").body) == {"user": None}


def test_starlette_requires_refuses_an_unauthenticated_user_in_optional_mode(world: World) -> None:
    with world.authenticator(optional=True, scopes=("billing",)) as authenticator, asgi(authenticator) as ask:
        assert ask("/billing").status == 403
        assert ask("/billing", world.register().basic()).status == 200


def test_exempt_path_can_be_limited_to_a_method(world: World, adapter: Any) -> None:
    with world.authenticator(exempt_paths=("OPTIONS *", "GET /maybe")) as authenticator, adapter(authenticator) as ask:
        assert [ask("/maybe", method=method).status for method in ("GET", "HEAD", "POST")] == [200, 200, 401]
        assert ask("/who", method="OPTIONS").status in (200, 405)  # the app's own answer


@pytest.mark.parametrize(
    ("options", "scheme", "expected"),
    [
        ({}, "https", None),
        ({"hsts": 31_536_000}, "https", "max-age=31536000"),
        ({"hsts": 60, "require_https": False}, "http", None),
    ],
)
def test_hsts_is_on_every_https_response_and_on_no_other(
    world: World, adapter: Any, options: dict[str, Any], scheme: str, expected: str | None
) -> None:
    keys = world.register()
    with (
        world.authenticator(exempt_paths=("/open",), **options) as authenticator,
        adapter(authenticator, scheme=scheme) as ask,
    ):
        answers = [ask("/who", keys.basic()), ask("/who"), ask("/open")]
    assert [answer.status for answer in answers] == [200, 401, 200]
    assert [answer.headers.get("strict-transport-security") for answer in answers] == [expected] * 3


def test_hsts_replaces_the_header_of_the_app(world: World, adapter: Any) -> None:
    with world.authenticator(hsts=60, exempt_paths=("/hsts",)) as authenticator, adapter(authenticator) as ask:
        assert ask("/hsts").headers["strict-transport-security"] == "max-age=60"


def plain_text(refusal: ErrorResponse, request: Request) -> ErrorResponse:
    body = f"{refusal.status} {refusal.text} {request.path}".encode()
    return ErrorResponse(refusal.status, ((b"content-type", b"text/plain"), (b"x-shaped", b"yes")), body)


def shaping(world: World, shape: Callable[[ErrorResponse, Request], ErrorResponse], **options: object) -> Authenticator:
    return Authenticator(world.settings(**options), on_refusal=shape)


def test_refusal_hook_replaces_the_body_and_required_headers_stay(world: World, adapter: Any) -> None:
    authenticator = shaping(world, plain_text)
    with adapter(authenticator) as ask:
        answer, head = ask("/who"), ask("/who", method="HEAD")
    authenticator.close()
    assert (answer.status, answer.body) == (401, b"401 No API keys were sent. /who")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-shaped"] == "yes"
    assert answer.headers["www-authenticate"] == 'Basic realm="Octy API", charset="UTF-8"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.body)) == head.headers["content-length"]
    assert head.body == b""


def test_hooked_refusals_of_unknown_wrong_and_retired_are_the_same_bytes(world: World, adapter: Any) -> None:
    keys, old = world.register("now"), world.register("old")
    world.set_state(old, "retired")
    authenticator = shaping(world, plain_text)
    with adapter(authenticator) as ask:
        answers = [ask("/who", header) for header in (basic(UNKNOWN, "x"), keys.basic("no"), old.basic())]
    authenticator.close()
    assert answers[0] == answers[1] == answers[2]


def _raise(refusal: ErrorResponse, request: Request) -> ErrorResponse:
    raise RuntimeError("a fault of the host's")


@on_one_database  # the hook sees no database
@pytest.mark.parametrize(
    "shape",
    [
        _raise,
        lambda refusal, request: None,
        lambda refusal, request: replace(refusal, status=200),
        lambda refusal, request: replace(refusal, status=302),
        lambda refusal, request: replace(refusal, body="text"),
        lambda refusal, request: replace(refusal, headers=((b"x-a", b"1\r\nset-cookie: a=b"),)),
        lambda refusal, request: replace(refusal, headers=((b"X-Upper", b"1"),)),
        lambda refusal, request: replace(refusal, headers=((b"x a", b"1"),)),
        lambda refusal, request: replace(refusal, headers=(("x-a", "1"),)),
        lambda refusal, request: replace(refusal, headers=((b"x-a", b"1"), (b"x-a", b"2"))),
        lambda refusal, request: replace(refusal, headers=((b"x-a",),)),
    ],
    ids=["raises", "none", "200", "302", "text", "line end", "upper case", "space", "text header", "twice", "no pair"],
)
def test_failing_refusal_hook_refuses_with_the_default_body(
    world: World, adapter: Any, shape: Any, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = shaping(world, shape)
    with adapter(authenticator) as ask:
        answer = ask("/who")
    authenticator.close()
    assert answer.status == 401
    assert json.loads(answer.body)["error"]["code"] == 401
    assert "on_refusal failed" in caplog.text


def refusals(ask: Ask, header: str, number: int) -> list[int]:
    return [ask("/who", header).status for _ in range(number)]


def test_rate_limit_answers_429_beyond_its_rate_and_never_to_a_right_key_pair(world: World, adapter: Any) -> None:
    keys = world.register()
    with world.authenticator(rate_limit=5) as authenticator, adapter(authenticator) as ask:
        assert refusals(ask, keys.basic("no"), 8) == [401] * 5 + [429] * 3
        assert refusals(ask, basic(UNKNOWN, "x"), 2) == [429] * 2
        assert refusals(ask, keys.basic(), 3) == [200] * 3
        answer = ask("/who", keys.basic("no"))
    assert 1 <= int(answer.headers["retry-after"]) <= 12
    assert json.loads(answer.body)["error"]["code"] == 429
    assert world.recorded(keys.public_key) == {"wrong_secret": 9, "accepted": 3}
    assert world.recorded("") == {"unknown_key": 2}
    assert world.rows("SELECT length FROM streak WHERE network = '' AND public_key = :key", key=keys.public_key) == [
        (1,)
    ]


def test_octy_clients_get_401_where_others_get_429(world: World, adapter: Any) -> None:
    keys = world.register()
    with world.authenticator(rate_limit=2) as authenticator, adapter(authenticator) as ask:
        refusals(ask, keys.basic("no"), 3)
        theirs = ask("/who", keys.basic("no").removeprefix("Basic "))
        plain = ask("/who", basic(UNKNOWN, "x").removeprefix("Basic "))
    assert theirs.status == 401
    assert theirs == plain
    assert "retry-after" not in theirs.headers
    assert world.recorded(keys.public_key) == {"wrong_secret": 4}


def test_rate_limit_of_one_source_does_not_affect_another(world: World, adapter: Any) -> None:
    keys = world.register()
    with (
        world.authenticator(rate_limit=1, trusted_proxies=("127.0.0.1",)) as authenticator,
        adapter(authenticator, peer="127.0.0.1") as ask,
    ):

        def attempt(source: str) -> int:
            forwarded = {"X-Forwarded-For": source, "X-Forwarded-Proto": "https"}
            return ask("/who", keys.basic("no"), **forwarded).status

        assert [attempt("192.0.2.1"), attempt("192.0.2.2"), attempt("198.51.100.1"), attempt("2001:db8::1")] == [
            401,
            429,  # the same network
            401,
            401,
        ]


@pytest.mark.parametrize("middleware", [OctyASGIMiddleware, OctyWSGIMiddleware])
def test_options_that_would_be_ignored_are_rejected(world: World, middleware: Any) -> None:
    with world.authenticator() as authenticator:
        for more in ({"optional": True}, {"settings": world.settings()}, {"on_refusal": plain_text}):
            with pytest.raises(ConfigurationError, match="give an authenticator alone"):
                middleware(None, authenticator=authenticator, **more)
    with pytest.raises(ConfigurationError, match="not both: optionl, require_https"):
        middleware(None, settings=world.settings(), require_https=False, optionl=True)


def test_unknown_scope_type_never_reaches_the_app(world: World) -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    with world.authenticator() as authenticator, pytest.raises(ValueError, match="webtransport"):
        asyncio.run(OctyASGIMiddleware(app, authenticator=authenticator)({"type": "webtransport"}, None, None))  # type: ignore[arg-type]
    assert reached == []
