"""ASGI under trio: waiting for commits, for slow hashes, and for the end of a lifespan."""

import threading

import trio
from starlette.testclient import TestClient
from support.adapters import starlette_app
from support.imported_key_pairs import have, slow
from support.server_scopes import http_scope
from support.until import until
from support.world import World, basic

from octy_middleware import Authenticator, OctyASGIMiddleware
from octy_middleware.auth.hash_queue import HashRequest
from octy_middleware.http.decision import NO_CREDENTIALS_NEEDED
from octy_middleware.recording.async_waiters import TrioWaiter
from octy_middleware.recording.commit_waiter import settle

UNKNOWN = "pk_" + "0" * 28


def client(authenticator: Authenticator) -> TestClient:
    return TestClient(starlette_app(authenticator), base_url="https://api.example", backend="trio")


def test_right_wrong_and_unknown_key_pairs_are_decided_and_recorded_under_trio(world: World) -> None:
    keys = world.register("acme")
    with world.authenticator() as authenticator, client(authenticator) as asked:
        answers = [
            asked.get("/who", headers={"Authorization": authorization}).status_code
            for authorization in (keys.basic(), keys.basic(), keys.basic("no"), basic(UNKNOWN, "x"), "Basic ???")
        ]
    assert answers == [200, 200, 401, 401, 401]
    # The end of the lifespan has written what was queued.
    assert world.recorded() == {"accepted": 2, "malformed": 1, "unknown_key": 1, "wrong_secret": 1}


def test_imported_hashes_are_verified_under_trio(world: World) -> None:
    keys = world.register()
    keys = have(world, keys, slow(keys.secret), "pbkdf2_sha256")
    with world.authenticator() as authenticator, client(authenticator) as asked:
        answers = [asked.get("/who", headers={"Authorization": keys.basic(s)}).status_code for s in ("no", None)]
    assert answers == [401, 200]


def test_locked_database_is_503_under_trio(world: World) -> None:
    keys = world.register()
    with (
        world.authenticator(commit_timeout=0.3) as authenticator,
        client(authenticator) as asked,
        world.database.write(timeout=30),
    ):
        assert asked.get("/who", headers={"Authorization": keys.basic("no")}).status_code == 503


def test_waiters_of_one_trio_run_wake_together_and_an_ended_run_blocks_no_other() -> None:
    async def waits() -> list[TrioWaiter]:
        waiters = [TrioWaiter(), TrioWaiter()]
        assert waiters[0].loop == waiters[1].loop
        await waiters[0].wait(0.01)  # without success
        assert waiters[0].result is None
        async with trio.open_nursery() as nursery:
            for waiter in waiters:
                nursery.start_soon(waiter.wait, 60)
            nursery.start_soon(trio.to_thread.run_sync, settle, [(waiter, NO_CREDENTIALS_NEEDED) for waiter in waiters])
        assert [waiter.result for waiter in waiters] == [NO_CREDENTIALS_NEEDED, NO_CREDENTIALS_NEEDED]
        return [TrioWaiter()]

    late = trio.run(waits)
    settle([(late[0], NO_CREDENTIALS_NEEDED)])
    assert late[0].result is NO_CREDENTIALS_NEEDED


def test_attempt_of_a_client_that_disconnects_during_a_slow_hash_is_counted_under_trio(world: World) -> None:
    keys = world.register()
    keys = have(world, keys, slow(keys.secret), "pbkdf2_sha256")
    go, computed = threading.Event(), threading.Event()

    async def leave(authenticator: Authenticator) -> None:
        submit = authenticator.hash_limiter.submit

        def hold(request: HashRequest) -> None:
            compute = request.compute

            def held() -> bool | None:
                computed.set()
                return go.wait(60) and compute()

            request.compute = held
            submit(request)

        authenticator.hash_limiter.submit = hold  # type: ignore[method-assign]
        scope = http_scope([(b"authorization", keys.basic("no").encode())], client=("192.0.2.1", 1))
        middleware = OctyASGIMiddleware(no_app, authenticator=authenticator)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(middleware, scope, no_app, no_app)
            await trio.to_thread.run_sync(computed.wait, 60)
            nursery.cancel_scope.cancel()

    with world.authenticator() as authenticator:
        trio.run(leave, authenticator)
        assert world.recorded() == {}
        go.set()
        until(lambda: world.recorded(keys.public_key) == {"wrong_secret": 1})


async def no_app(*_: object) -> None:
    raise AssertionError("no request is accepted")
