"""The key loader: records of many requests in one statement, and requests that cannot wait or cannot be decided."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.world import FakeRequest, World, basic, look_into

from octy_middleware import Outcome
from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.recording.commit_waiter import ThreadWaiter


def test_concurrent_requests_are_loaded_in_one_statement(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(keys.basic()))
        asked: list[int] = []
        real, held = authenticator.key_cache.load_many, threading.Event()

        def load_many(public_keys: set[str]) -> dict[str, KeyRecord]:
            asked.append(len(public_keys))
            held.wait(5)
            return real(public_keys)

        authenticator.key_cache.load_many = load_many  # type: ignore[method-assign]
        headers = [keys.basic("sk_wrong"), *(basic(f"pk_unknown{number:020}", "x") for number in range(30))]
        waiters = [ThreadWaiter() for _ in headers]
        for header, waiter in zip(headers, waiters, strict=True):
            request = FakeRequest(header)
            authenticator.finish(authenticator.decide_from_memory(request), request, waiter)
        held.set()
        for waiter in waiters:
            waiter.wait(60)
    assert len(asked) <= 3
    assert sum(asked) == len(headers)
    assert world.recorded() == {"accepted": 1, "wrong_secret": 1, "unknown_key": 30}


class Broken(FakeRequest):
    """A host's own request class whose headers, method and path can't be read."""

    method = path = property(lambda _: 1 / 0, lambda *_: None)  # type: ignore[assignment]

    def header(self, name: bytes) -> list[bytes]:
        raise ZeroDivisionError(name)


@pytest.mark.parametrize(
    ("secret", "scheme", "outcomes"),
    [
        ("sk_wrong", "https", [Outcome.WRONG_SECRET, Outcome.WRONG_SECRET]),  # cannot be described, and counts
        (None, "http", [Outcome.DATABASE_UNAVAILABLE, Outcome.PLAIN_HTTP]),  # cannot be decided
    ],
)
def test_request_that_raises_fails_no_other_of_its_batch(
    world: World, secret: str | None, scheme: str, outcomes: list[Outcome]
) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        pending = authenticator.decide_from_memory(FakeRequest(keys.basic(secret), scheme=scheme))
        assert isinstance(pending, PendingCredentials)
        waiters = [ThreadWaiter(), ThreadWaiter()]
        for request, waiter in zip((Broken(), FakeRequest(scheme=scheme)), waiters, strict=True):
            authenticator.finish(pending, request, waiter)
        for waiter in waiters:
            waiter.wait(60)
        assert [waiter.result.outcome for waiter in waiters] == outcomes
    expected = {"wrong_secret": 2} if secret else {"plain_http": 1}
    assert world.recorded() == expected


def test_request_is_503_at_once_while_a_load_hangs_and_503_when_it_was_given_up_before_its_load(world: World) -> None:
    keys = world.register()
    with world.authenticator(commit_timeout=0.3) as authenticator, ThreadPoolExecutor(1) as client:
        real, hangs, go_on = authenticator.key_cache.load_many, threading.Event(), threading.Event()

        def load_many(public_keys: set[str]) -> dict[str, KeyRecord]:
            hangs.set()
            assert go_on.wait(60)
            return real(public_keys)

        authenticator.key_cache.load_many = load_many  # type: ignore[method-assign]
        request = FakeRequest(keys.basic())
        first = client.submit(authenticator.decide, request)
        assert hangs.wait(60)
        pending = authenticator.decide_from_memory(request)
        waiter = ThreadWaiter()
        authenticator.finish(pending, request, waiter)
        given_up = authenticator.result_of(waiter, pending)
        assert first.result(60).outcome is given_up.outcome is Outcome.DATABASE_UNAVAILABLE  # type: ignore[union-attr]
        time.sleep(0.1)  # so that the load certainly takes too long
        at_once = ThreadWaiter()
        authenticator.finish(authenticator.decide_from_memory(request), request, at_once)
        assert at_once.result is not None
        assert authenticator.result_of(at_once, pending).outcome is Outcome.DATABASE_UNAVAILABLE  # type: ignore[union-attr]
        go_on.set()
        waiter.wait(60)
    assert world.recorded() == {"database_unavailable": 3}


def test_error_of_ours_while_loading_is_logged_and_the_next_request_is_decided(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys = world.register()
    request = FakeRequest(keys.basic())
    with world.authenticator() as authenticator:
        pending = authenticator.decide_from_memory(request)
        with monkeypatch.context() as broken:
            broken.setattr(authenticator.key_cache, "load_many", lambda _: 1 / 0)
            assert look_into(authenticator, pending, request).outcome is Outcome.DATABASE_UNAVAILABLE  # type: ignore[union-attr]
        assert authenticator.decide(request).outcome is Outcome.ACCEPTED
    assert "internal error, key records were not loaded" in caplog.text
