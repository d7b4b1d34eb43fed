"""A host with the keys of another installation authenticates, records and alerts nothing (T24)."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.adapters import ADAPTERS
from support.imported_key_pairs import have, slow
from support.until import until
from support.world import FakeRequest, World, basic

from octy_middleware import Outcome
from octy_middleware.db.bulk_sql import run
from octy_middleware.domain import key_checks
from octy_middleware.domain.key_checks import PEPPERS, KeyCheckResult, check_value, compare_keys, register_keys
from octy_middleware.errors import KeyMismatchError
from octy_middleware.keys.keychain import Keychain

FOREIGN = Keychain.generate("k1")  # the same id as of every world, as it was before ids were random


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Any:
    return ADAPTERS[request.param]


def counts(world: World) -> list[tuple]:
    """Return how many rows there are of everything that a request can leave behind."""
    tables = ("outcome_minute", "attempt", "streak", "incident", "outbox", "notice")
    return world.rows("SELECT " + ", ".join(f"(SELECT COUNT(*) FROM {table})" for table in tables))


def digests(world: World) -> list[tuple]:
    return world.rows("SELECT public_key, secret_digest, imported_scheme, first_used_at FROM key_pair ORDER BY id")


@pytest.mark.parametrize(
    ("adapter", "peppers"),
    [(ADAPTERS["asgi"], FOREIGN), (ADAPTERS["wsgi"], Keychain.generate())],
    ids=["asgi, same_id", "wsgi, other_id"],
)
def test_host_with_foreign_peppers_answers_503_and_records_nothing(
    world: World, adapter: Any, peppers: Keychain, caplog: pytest.LogCaptureFixture
) -> None:
    keys, other = world.register("acme"), world.register("imported")
    imported = have(world, other, slow(other.secret), "pbkdf2_sha256")
    before, stored = counts(world), digests(world)
    asked = [keys.basic(), *[keys.basic("sk_wrong")] * 25, imported.basic(), basic("pk_" + "0" * 28, "sk_x")]
    with world.authenticator(peppers=peppers) as authenticator, adapter(authenticator) as ask:
        answers = [ask("/who", authorization) for authorization in asked]
    assert {answer.status for answer in answers} == {503}
    assert len({answer.body for answer in answers}) == 1
    assert (counts(world), digests(world)) == (before, stored)
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "OCTY_PEPPERS" in told
    assert "→ set OCTY_PEPPERS to the value on the hosts that use this database" in told
    assert peppers.newest[1].hex() not in told
    with world.authenticator() as authenticator:  # the right host goes on, and upgrades the imported one
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        assert authenticator.decide(FakeRequest(imported.basic())).outcome is Outcome.ACCEPTED


def test_host_recovers_when_its_database_is_the_right_one_again(world: World, adapter: Any) -> None:
    keys = world.register()
    with world.database.write() as connection:
        run(connection, "UPDATE key_check SET check_value = ?", check_value(PEPPERS, "k1", FOREIGN["k1"]))
    with world.authenticator() as authenticator, adapter(authenticator) as ask:
        assert ask("/who", keys.basic()).status == 503
        with world.database.write() as connection:
            run(connection, "UPDATE key_check SET check_value = ?", check_value(PEPPERS, "k1", world.peppers["k1"]))
        assert ask("/who", keys.basic()).status == 200
        assert ask("/who", keys.basic("sk_wrong")).status == 401
    assert world.recorded(keys.public_key) == {"accepted": 1, "wrong_secret": 1}


def test_running_host_answers_503_once_other_peppers_are_registered(
    world: World, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_checks, "COMPARISON_INTERVAL", 0.0)
    keys = world.register()
    with world.authenticator(feed_interval=0.02) as authenticator, adapter(authenticator) as ask:
        assert [ask("/who", keys.basic()).status for _ in range(2)] == [200, 200]  # remembered now
        with world.database.write() as connection:
            run(connection, "UPDATE key_check SET check_value = ?", check_value(PEPPERS, "k1", FOREIGN["k1"]))
        until(lambda: ask("/who", keys.basic()).status == 503)
        assert ask("/who", keys.basic("sk_wrong")).status == 503
        with world.database.write() as connection:
            run(connection, "UPDATE key_check SET check_value = ?", check_value(PEPPERS, "k1", world.peppers["k1"]))
        assert ask("/who", keys.basic()).status == 200


def test_rotated_keychain_matches_and_one_without_registered_key_does_not(world: World) -> None:
    keys, new = world.register(), Keychain.generate()
    with world.authenticator(peppers=Keychain({**world.peppers, **new})) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
    with world.authenticator(peppers=new) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.DATABASE_UNAVAILABLE


def test_database_without_registered_peppers_authenticates_nothing(world: World) -> None:
    """On a fresh database, unknown keys are refused as ever; a key pair is judged only once peppers are registered."""
    with world.database.write() as connection:
        run(connection, "DELETE FROM key_check")
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(basic("pk_" + "0" * 28, "sk_x"))).outcome is Outcome.UNKNOWN_KEY
        keys = world.register()
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.DATABASE_UNAVAILABLE
        with world.database.write() as connection:
            register_keys(connection, PEPPERS, world.peppers, time.time())
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
    assert world.recorded(keys.public_key) == {"accepted": 1}


def test_peppers_are_not_compared_again_while_they_match(world: World) -> None:
    keys = [world.register(f"a{number}") for number in range(3)]
    with world.authenticator(feed_interval=0.5) as authenticator:
        authenticator.decide(FakeRequest(keys[0].basic()))
        with world.database.write() as connection:
            run(connection, "DELETE FROM key_check")  # not read again before the interval is over
        assert [authenticator.decide(FakeRequest(one.basic())).outcome for one in keys] == [Outcome.ACCEPTED] * 3


def test_register_keys_extends_a_keychain_and_rejects_another(world: World) -> None:
    new = Keychain.generate()

    def register(chain: Keychain) -> None:
        with world.database.write() as connection:
            register_keys(connection, PEPPERS, chain, time.time())

    for foreign in (FOREIGN, new, Keychain({**new, **FOREIGN})):
        with pytest.raises(KeyMismatchError, match="OCTY_PEPPERS"):
            register(foreign)
    register(Keychain({**world.peppers, **new}))
    register(new)  # the old one has gone
    assert {row[0] for row in world.rows("SELECT key_id FROM key_check")} == {"k1", *new}


CHAINS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([b"1" * 32, b"2" * 32]), min_size=1)


@given(CHAINS, CHAINS)
def test_keychain_matches_only_with_a_registered_key_and_no_other_value(mine: dict, theirs: dict) -> None:
    registered = {key_id: check_value(PEPPERS, key_id, key) for key_id, key in theirs.items()}
    shared = mine.keys() & theirs.keys()
    fits = bool(shared) and all(mine[key_id] == theirs[key_id] for key_id in shared)
    found = compare_keys(PEPPERS, Keychain(mine), registered)
    assert (found is not KeyCheckResult.FOREIGN) == fits
    assert (found is KeyCheckResult.ALL_REGISTERED) == (fits and mine.keys() <= theirs.keys())


def test_check_values_differ_by_purpose_and_do_not_reveal_the_key() -> None:
    key = b"\x07" * 32
    values = {check_value(purpose, key_id, key) for purpose in (PEPPERS, "link_keys") for key_id in ("a", "b")}
    assert len(values) == 4
    assert all(len(value) == 32 and key.hex() not in value for value in values)
