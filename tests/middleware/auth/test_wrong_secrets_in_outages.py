"""A wrong secret of a live key is recorded as such, whatever the response was: 401, 429 or 503 (K4)."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from support.databases import taken_away
from support.imported_key_pairs import OLD, have, rename, slow
from support.server_scopes import http_scope
from support.until import until
from support.world import FakeRequest, Keys, World, basic, look_into

from octy_middleware import Authenticator, DatabaseUnavailableError, OctyASGIMiddleware, Outcome
from octy_middleware.auth.hash_queue import HashQueue, HashRequest
from octy_middleware.auth.pending import PendingCredentials, PendingSlowHash
from octy_middleware.errors import KeyMismatchError, OctyError
from octy_middleware.keys.secret import make_key_pair
from octy_middleware.recording.commit_waiter import ThreadWaiter

UNKNOWN = "pk_" + "0" * 28


def told(authenticator: Authenticator, header: str) -> Outcome | None:
    decision = authenticator.decide(FakeRequest(header))
    return decision.public_outcome or decision.outcome


def test_wrong_secrets_beyond_the_rate_limit_are_429_and_all_counted(world: World) -> None:
    keys = world.register()
    with world.authenticator(rate_limit=60) as authenticator:
        for _ in range(60):
            told(authenticator, basic(make_key_pair().public_key, "x"))
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: told(authenticator, keys.basic("sk_wrong")), range(300)))
        assert answers.count(Outcome.RATE_LIMITED) > 200
        assert told(authenticator, keys.basic()) is Outcome.ACCEPTED
    assert world.recorded(keys.public_key) == {"wrong_secret": 300, "accepted": 1}
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]


def test_wrong_secrets_whose_commit_fails_are_503_and_counted_when_it_succeeds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:

        def away(*_: object, **__: object) -> None:
            raise DatabaseUnavailableError("locked")

        with monkeypatch.context() as outage:
            outage.setattr(authenticator.database, "write_batch", away)
            answers = [told(authenticator, keys.basic("sk_wrong")) for _ in range(25)]
            assert set(answers) == {Outcome.DATABASE_UNAVAILABLE}
            assert told(authenticator, keys.basic()) is Outcome.ACCEPTED
        until(lambda: authenticator.health().queued == 0 and not authenticator.health().last_error)
    assert world.recorded(keys.public_key) == {"wrong_secret": 25, "accepted": 1}
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]


def test_wrong_secrets_of_a_cached_key_pair_are_counted_after_the_outage(world: World) -> None:
    """Its right secret is 200 meanwhile: the 503 shows that the other one is wrong."""
    keys = world.register()
    with world.authenticator(commit_timeout=1.0, grace_period=60.0) as authenticator:
        assert told(authenticator, keys.basic()) is Outcome.ACCEPTED
        until(lambda: authenticator.health().queued == 0)
        if world.database_kind == "sqlite":  # a server cuts connections itself
            authenticator.database.close()
        with taken_away(world.url, world.server):
            answers = [told(authenticator, keys.basic("sk_wrong")) for _ in range(25)]
            assert set(answers) == {Outcome.DATABASE_UNAVAILABLE}
            assert told(authenticator, keys.basic()) is Outcome.ACCEPTED
            assert told(authenticator, basic(UNKNOWN, "x")) is Outcome.DATABASE_UNAVAILABLE
        until(lambda: told(authenticator, basic(UNKNOWN, "x")) is Outcome.UNKNOWN_KEY)
    assert world.recorded(keys.public_key) == {"wrong_secret": 25, "accepted": 2}
    assert world.recorded("")["database_unavailable"] >= 1
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]


def test_uncached_key_pair_is_not_verified_during_an_outage(world: World) -> None:
    keys = world.register()
    with world.authenticator(commit_timeout=1.0) as authenticator:
        told(authenticator, basic(UNKNOWN, "x"))
        until(lambda: authenticator.health().queued == 0)
        if world.database_kind == "sqlite":  # a server cuts connections itself
            authenticator.database.close()
        with taken_away(world.url, world.server):
            assert told(authenticator, keys.basic("sk_wrong")) is Outcome.DATABASE_UNAVAILABLE
            assert told(authenticator, keys.basic()) is Outcome.DATABASE_UNAVAILABLE
        until(lambda: told(authenticator, keys.basic()) is Outcome.ACCEPTED)
    assert world.recorded(keys.public_key) == {"accepted": 1}


def test_attempt_of_a_client_that_times_out_before_the_commit_is_counted(world: World) -> None:
    keys = world.register()
    with world.authenticator(commit_timeout=0.3) as authenticator:
        authenticator.decide(FakeRequest(keys.basic()))
        with world.database.write(), ThreadPoolExecutor(24) as threads:  # no other commit can begin
            answers = list(threads.map(lambda _: told(authenticator, keys.basic("sk_wrong")), range(24)))
        assert Outcome.DATABASE_UNAVAILABLE in answers
        until(lambda: authenticator.health().queued == 0 and not authenticator.health().last_error)
    assert world.recorded(keys.public_key)["wrong_secret"] == 24


def old_shape(world: World, keys: Keys) -> Keys:
    """Give a key pair a public key without a checksum and another one a slow hash: refusals then take a decoy's."""
    other = world.register("other")
    have(world, other, slow(other.secret), "pbkdf2_sha256", "pk_" + "7" * 64)
    return rename(world, keys, OLD)


def slow_claim(authenticator: Authenticator, header: str) -> PendingSlowHash:
    pending = authenticator.decide_from_memory(FakeRequest(header))
    assert isinstance(pending, PendingCredentials)
    slow = look_into(authenticator, pending, FakeRequest(header))
    assert isinstance(slow, PendingSlowHash)
    return slow


def test_wrong_secret_is_503_and_counted_when_the_hash_limiter_is_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = old_shape(world, world.register())
    with world.authenticator() as authenticator:
        told(authenticator, keys.basic("sk_wrong"))
        monkeypatch.setattr(HashQueue, "add", lambda _queue, request: request)  # turned away
        assert [told(authenticator, keys.basic("sk_wrong")) for _ in range(24)] == [Outcome.DATABASE_UNAVAILABLE] * 24
        assert told(authenticator, keys.basic()) is Outcome.ACCEPTED
        assert told(authenticator, basic("pk_" + "6" * 64, "x")) is Outcome.DATABASE_UNAVAILABLE
        plain = authenticator.decide(FakeRequest(keys.basic("sk_wrong"), scheme="http"))
        assert (plain.public_outcome, plain.outcome) == (None, Outcome.PLAIN_HTTP)
    assert world.recorded(keys.public_key) == {"wrong_secret": 25, "accepted": 1, "plain_http": 1}
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]


def test_attempt_of_a_client_that_disconnects_during_a_slow_hash_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = old_shape(world, world.register())

    async def leave_at_once(authenticator: Authenticator) -> None:
        middleware = OctyASGIMiddleware(_no_app, authenticator=authenticator)
        scope = http_scope([(b"authorization", keys.basic("sk_wrong").encode())], client=("192.0.2.1", 1))
        submitted, go = asyncio.Event(), threading.Event()
        loop, submit = asyncio.get_running_loop(), authenticator.hash_limiter.submit

        def hold(request: HashRequest) -> None:
            compute = request.compute
            request.compute = lambda: go.wait(60) and compute()
            submit(request)
            loop.call_soon(submitted.set)

        monkeypatch.setattr(authenticator.hash_limiter, "submit", hold)
        request = asyncio.create_task(middleware(scope, _no_app, _no_app))
        await asyncio.wait_for(submitted.wait(), 20)
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
        go.set()

    with world.authenticator() as authenticator:
        told(authenticator, keys.basic("sk_wrong"))
        asyncio.run(leave_at_once(authenticator))
        until(lambda: world.recorded(keys.public_key) == {"wrong_secret": 2})


@pytest.mark.parametrize(
    ("error", "expected", "recorded"),
    [
        (DatabaseUnavailableError, [Outcome.WRONG_SECRET, Outcome.DATABASE_UNAVAILABLE], {"wrong_secret": 1}),
        (KeyMismatchError, [Outcome.DATABASE_UNAVAILABLE] * 2, {}),  # nothing can be verified
    ],
)
def test_slow_hash_verified_before_an_outage_is_counted_unless_the_peppers_do_not_match(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    error: type[OctyError],
    expected: list[Outcome],
    recorded: dict[str, int],
) -> None:
    keys = world.register()
    keys = have(world, keys, slow(keys.secret), "pbkdf2_sha256")

    def away(_public_key: str) -> None:
        raise error("away")

    with world.authenticator() as authenticator:
        slow_one, right = slow_claim(authenticator, keys.basic("sk_wrong")), slow_claim(authenticator, keys.basic())
        monkeypatch.setattr(authenticator.key_cache, "load", away)
        waiters = [ThreadWaiter(), ThreadWaiter()]
        for pending, waiter in zip((slow_one, right), waiters, strict=True):
            authenticator.submit_slow_hash(pending, FakeRequest(), waiter)
            waiter.wait(20)
        outcomes = [waiter.result.outcome for waiter in waiters if waiter.result]  # type: ignore[union-attr]
        assert outcomes == expected
    assert world.recorded(keys.public_key) == recorded


async def _no_app(*_: Any) -> None:
    raise AssertionError("no request is accepted")
