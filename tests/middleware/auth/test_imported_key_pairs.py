"""Key pairs with imported hashes: slow verification beside other requests, and upgrade at first success."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.adapters import asgi
from support.databases import taken_away
from support.imported_key_pairs import OLD, have, pair_id_of, slow, stored
from support.server_scopes import Recording, ask, function, http_scope
from support.until import until
from support.world import FakeRequest, Keys, World, basic, look_into

from octy_middleware import Authenticator, OctyASGIMiddleware, Outcome
from octy_middleware.auth.pending import PendingCredentials, PendingSlowHash
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher, row_binding


@pytest.fixture
def old(world: World) -> Keys:
    keys = world.register()
    return have(world, keys, slow(keys.secret), "pbkdf2_sha256")


def test_first_success_of_an_imported_key_pair_stores_a_digest_and_the_next_needs_no_database(
    world: World, old: Keys
) -> None:
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(old.basic("sk_wrong"))).outcome is Outcome.WRONG_SECRET
        assert stored(world, old)[1] == "pbkdf2_sha256"
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        digest, scheme = stored(world, old)
        assert digest.startswith("$octy-b2$")
        assert scheme is None
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        assert not isinstance(authenticator.decide_from_memory(FakeRequest(old.basic())), PendingCredentials)
        assert authenticator.decide(FakeRequest(old.basic("sk_wrong"))).outcome is Outcome.WRONG_SECRET
    assert world.recorded(old.public_key) == {"wrong_secret": 2, "accepted": 3}


def is_cached(authenticator: Authenticator, keys: Keys) -> bool:
    return not isinstance(authenticator.decide_from_memory(FakeRequest(keys.basic())), PendingCredentials)


def accepted_and_cached(authenticator: Authenticator, keys: Keys) -> bool:
    """Accept the key pair and return whether it is cached then: the feed may drop its record in between, once."""
    assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
    return is_cached(authenticator, keys)


def test_imported_key_pair_is_cached_after_its_first_use(world: World, old: Keys) -> None:
    """Also after the feed has told of its new digest."""
    with world.authenticator(commit_timeout=1.0) as authenticator:
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        until(lambda: is_cached(authenticator, old))  # the feed drops the record, and it is loaded again at once
        time.sleep(0.6)
        if world.database_kind == "sqlite":  # a server cuts connections itself
            authenticator.database.close()
        with taken_away(world.url, world.server):
            assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED


def test_digest_upgrade_reaches_other_processes_by_the_feed(world: World, old: Keys) -> None:
    with world.authenticator() as first, world.authenticator() as second:
        pending = second.decide_from_memory(FakeRequest(old.basic("no")))
        assert isinstance(pending, PendingCredentials)
        assert isinstance(look_into(second, pending, FakeRequest()), PendingSlowHash)
        assert first.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        until(lambda: accepted_and_cached(second, old))


def test_digest_of_an_old_pepper_is_renewed_under_the_newest(world: World) -> None:
    keys = world.register()
    both = Keychain({**world.peppers, "k2": bytes(32)})
    with world.authenticator(peppers=both) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic("no"))).outcome is Outcome.WRONG_SECRET
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
    assert stored(world, keys)[0].startswith("$octy-b2$k2$")
    with world.authenticator(peppers=both) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED


def test_digest_upgrade_that_fails_does_not_refuse_the_request(
    world: World, old: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from octy_middleware import DatabaseUnavailableError
    from octy_middleware.domain import key_pairs

    def away(*_: object) -> bool:
        raise DatabaseUnavailableError("away")

    with world.authenticator() as authenticator:
        with monkeypatch.context() as broken:
            broken.setattr(key_pairs, "replace_digest", away)
            assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        assert stored(world, old)[1] == "pbkdf2_sha256"
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
    assert stored(world, old)[1] is None


def test_digest_changed_during_verification_is_not_overwritten(world: World, old: Keys) -> None:
    from octy_middleware.domain import key_pairs

    ((pair_id,),) = world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=OLD)
    with world.database.write() as connection:
        assert not key_pairs.replace_digest(connection, pair_id, "another", "new", 0.0)
    assert stored(world, old)[1] == "pbkdf2_sha256"


def hold_slow_checks(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Semaphore]:
    """Let slow hashes take as long as the test wants."""
    go, begun = threading.Event(), threading.Semaphore(0)
    verify = KeyHasher.verify_imported

    def held(self: KeyHasher, secret: Any, sealed: str) -> bool:
        begun.release()
        assert go.wait(60)
        return verify(self, secret, sealed)

    monkeypatch.setattr(KeyHasher, "verify_imported", held)
    return go, begun


def test_slow_hashes_delay_no_other_request_and_too_many_are_503(
    world: World, old: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = world.register("fast")
    go, begun = hold_slow_checks(monkeypatch)

    async def story(authenticator: Authenticator) -> None:
        middleware = OctyASGIMiddleware(Recording(), authenticator=authenticator)  # type: ignore[arg-type]
        slow_ones = [
            asyncio.create_task(status(middleware, old.basic("no"), f"198.51.{number}.1")) for number in range(2 + 4)
        ]
        for _ in range(2):
            await asyncio.to_thread(begun.acquire)
        await asyncio.to_thread(until, lambda: len(authenticator.hash_limiter) == 6)
        assert await status(middleware, old.basic()) == 503  # no room to find out
        assert await status(middleware, fast.basic()) == 200
        assert await status(middleware, fast.basic("no")) == 401
        assert await status(middleware, fast.basic()) == 200
        go.set()
        assert await asyncio.gather(*slow_ones) == [401] * 6
        assert await status(middleware, old.basic()) == 200

    with world.authenticator(max_slow_hashes=2, max_waiting_hashes=4) as authenticator:
        asyncio.run(story(authenticator))
    assert world.recorded(old.public_key)["wrong_secret"] == 6
    assert world.recorded("") == {"database_unavailable": 1}


def test_flood_of_slow_hashes_holds_max_blocked_threads_and_right_key_pairs_pass(
    world: World, old: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = world.register("fast")
    with (
        world.authenticator(max_slow_hashes=1, max_blocked_threads=2) as authenticator,
        ThreadPoolExecutor(10) as server,
    ):
        authenticator.decide(FakeRequest(old.basic("no")))
        go, _ = hold_slow_checks(monkeypatch)
        flood = [
            server.submit(authenticator.decide, FakeRequest(basic(f"pk_{number:064}", "x"), peer=f"198.51.{number}.1"))
            for number in range(8)
        ]
        until(lambda: sum(each.done() for each in flood) == 7)
        slow_one = server.submit(authenticator.decide, FakeRequest(old.basic()))
        until(lambda: len(authenticator.hash_limiter) == 2)
        assert authenticator.decide(FakeRequest(fast.basic())).outcome is Outcome.ACCEPTED
        assert not slow_one.done()
        go.set()
        assert slow_one.result(60).outcome is Outcome.ACCEPTED
        outcomes = Counter(each.result(60).public_outcome or each.result(60).outcome for each in flood)
    assert outcomes == {Outcome.DATABASE_UNAVAILABLE: 7, Outcome.UNKNOWN_KEY: 1}
    assert world.recorded("") == {"unknown_key": 8}


def test_key_pair_revoked_during_its_slow_hash_is_refused(
    world: World, old: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from octy_middleware.domain import key_pairs

    verify = KeyHasher.verify_imported
    ((pair_id,),) = world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=OLD)

    def revoke_meanwhile(self: KeyHasher, secret: Any, sealed: str) -> bool:
        with world.database.write() as connection:
            key_pairs.retire(connection, pair_id, time.time())
        return verify(self, secret, sealed)

    with world.authenticator() as authenticator:
        monkeypatch.setattr(KeyHasher, "verify_imported", revoke_meanwhile)
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.RETIRED


def test_key_pair_renewed_during_its_slow_hash_is_verified_by_the_new_digest(
    world: World, old: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = KeyHasher.verify_imported

    def renew_meanwhile(self: KeyHasher, secret: Any, sealed: str) -> bool:
        with world.database.write() as connection:
            run(
                connection,
                "UPDATE key_pair SET secret_digest = ?, imported_scheme = NULL WHERE public_key = ?",
                self.digest(Secret(old.secret), row_binding(pair_id_of(world, old), OLD)),
                OLD,
            )
        return verify(self, secret, sealed)

    with world.authenticator() as authenticator:
        monkeypatch.setattr(KeyHasher, "verify_imported", renew_meanwhile)
        assert authenticator.decide(FakeRequest(old.basic("no"))).outcome is Outcome.WRONG_SECRET
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED


def test_restored_backup_reloads_the_imported_hashes(world: World, old: Keys) -> None:
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(old.basic("no")))
        assert len(authenticator.key_cache.imported_hashes) == 1
        digest, scheme = stored(world, old)
        with world.database.write() as connection:
            run(connection, "UPDATE key_pair SET secret_digest = 'x', imported_scheme = NULL WHERE public_key = ?", OLD)
            run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 0)", OLD)
        until(lambda: not authenticator.key_cache.imported_hashes)
        with world.database.write() as connection:  # as a restored backup: the row and the feed as they were before
            update = "UPDATE key_pair SET secret_digest = ?, imported_scheme = ? WHERE public_key = ?"
            run(connection, update, digest, scheme, OLD)
            run(connection, "DELETE FROM key_change")
        until(lambda: authenticator.key_cache.restores_detected == 1)
        assert len(authenticator.key_cache.imported_hashes) == 1


def test_too_little_memory_for_a_hash_is_503_and_no_wrong_secret(
    world: World, old: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(*_: Any) -> bool:
        raise MemoryError

    with world.authenticator() as authenticator:
        with monkeypatch.context() as poor:
            poor.setattr(KeyHasher, "verify_imported", lacking)
            assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.DATABASE_UNAVAILABLE
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
    assert "not enough memory" in caplog.text
    assert world.recorded() == {"database_unavailable": 1, "accepted": 1}


async def status(middleware: OctyASGIMiddleware, header: str, peer: str = "192.0.2.1") -> int:
    scope = http_scope([(b"authorization", header.encode())], client=(peer, 1))
    answered = await asyncio.wait_for(ask(middleware, scope, function), 60)
    return int(answered.sent[0]["status"])


def test_imported_key_pair_is_accepted_through_a_real_adapter(world: World, old: Keys) -> None:
    with world.authenticator() as authenticator, asgi(authenticator) as client:
        assert [client("/who", header).status for header in (old.basic("no"), old.basic(), old.basic())] == [
            401,
            200,
            200,
        ]
