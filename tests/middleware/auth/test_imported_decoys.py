"""While imported hashes are left, keys that do not exist cost the same as those that do (T7)."""

import pytest
from passlib.hash import argon2
from support.imported_key_pairs import have, rename, slow
from support.until import until
from support.world import FakeRequest, Keys, World, basic, listening, look_into

from octy_middleware import Authenticator, Outcome
from octy_middleware.auth.pending import PendingCredentials, PendingSlowHash
from octy_middleware.keys.secret import imported_hash, make_key_pair

OLD_UNKNOWN = "pk_9b2f17a3-4573-4a9b-9128-53ee910ef3"


@pytest.fixture
def old(world: World) -> Keys:
    keys = world.register()
    return have(world, keys, slow(keys.secret), "pbkdf2_sha256")


def work_of(authenticator: Authenticator, header: str) -> str:
    """Say which hash a refusal took: ours only, or an imported one as well."""
    pending = authenticator.decide_from_memory(FakeRequest(header))
    assert isinstance(pending, PendingCredentials)
    found = look_into(authenticator, pending, FakeRequest(header))
    return "slow" if isinstance(found, PendingSlowHash) else "fast"


def test_every_key_of_the_old_format_takes_a_slow_hash_while_one_is_imported(world: World, old: Keys) -> None:
    upgraded, retired, new = world.register("upgraded"), world.register("retired"), world.register("new")
    rename(world, upgraded, "pk_" + "1" * 64)
    world.set_state(rename(world, retired, "pk_" + "2" * 64), "retired")
    headers = {
        "imported, wrong": old.basic("no"),
        "unknown": basic(OLD_UNKNOWN, "x"),
        "upgraded, wrong": basic("pk_" + "1" * 64, "x"),
        "retired, right": basic("pk_" + "2" * 64, retired.secret),
        "retired, wrong": basic("pk_" + "2" * 64, "x"),
    }
    ours = {"unknown of our shape": basic(make_key_pair().public_key, "x"), "of our shape, wrong": new.basic("no")}
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(old.basic("no")))
        assert {name: work_of(authenticator, header) for name, header in headers.items()} == dict.fromkeys(
            headers, "slow"
        )
        assert {name: work_of(authenticator, header) for name, header in ours.items()} == dict.fromkeys(ours, "fast")
        outcomes = [authenticator.decide(FakeRequest(header)).outcome for header in headers.values()]
        assert outcomes == [
            Outcome.WRONG_SECRET,
            Outcome.UNKNOWN_KEY,
            Outcome.WRONG_SECRET,
            Outcome.RETIRED,
            Outcome.RETIRED_WRONG,
        ]
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        until(lambda: work_of(authenticator, headers["unknown"]) != "slow")  # none is left, as the feed shows


def test_decoy_is_the_hash_of_another_key_and_accepts_nothing(world: World, old: Keys) -> None:
    """The secret that fits the decoy authenticates no one under a key that isn't its own."""
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(old.basic("no")))
        assert work_of(authenticator, basic(OLD_UNKNOWN, old.secret)) == "slow"
        assert authenticator.decide(FakeRequest(basic(OLD_UNKNOWN, old.secret))).outcome is Outcome.UNKNOWN_KEY


def test_unknown_key_always_takes_the_same_imported_scheme(world: World, old: Keys) -> None:
    second = world.register("second")
    have(world, second, str(argon2.using(rounds=1, memory_cost=8, parallelism=1).hash("x")), "argon2", "pk_" + "3" * 64)
    keys = [f"pk_{number:064}" for number in range(40)]
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(old.basic("no")))
        assert len(authenticator.key_cache.imported_hashes) == 2

        def schemes() -> list[str]:
            found = []
            for key in keys:
                pending = authenticator.decide_from_memory(FakeRequest(basic(key, "x")))
                assert isinstance(pending, PendingCredentials)
                pending_hash = look_into(authenticator, pending, FakeRequest())
                assert isinstance(pending_hash, PendingSlowHash)
                found.append(imported_hash(pending_hash.stored).split("$")[1])
            return found

        first = schemes()
        assert set(first) == {"argon2id", "pbkdf2-sha256"}
        assert schemes() == first


def test_unknown_keys_of_the_old_format_cost_the_same_statements_as_wrong_secrets(world: World, old: Keys) -> None:
    asked: dict[str, list[str]] = {"wrong": [], "unknown": []}
    headers = {"wrong": old.basic("no"), "unknown": basic(OLD_UNKNOWN, "x")}
    with world.authenticator(feed_interval=0.5) as authenticator:
        for _ in range(25):
            for header in headers.values():
                authenticator.decide(FakeRequest(header))
        authenticator.key_cache.stop()
        for name, header in headers.items():
            with listening(authenticator.database) as asked[name]:
                authenticator.decide(FakeRequest(header))
    assert len(asked["wrong"]) > 5
    assert asked["unknown"] == asked["wrong"]
