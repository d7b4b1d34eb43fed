"""Someone who can write SQL cannot log in as a customer: an edited or copied digest fits no secret (T21)."""

from hashlib import sha256

import pytest
from support.imported_key_pairs import OLD, have, put, slow, stored
from support.world import FakeRequest, World

from octy_middleware import Authenticator, Outcome
from octy_middleware.keys.secret import make_key_pair

FOREIGN = "pk_9b2f17a3-4573-4a9b-9128-53ee910ef4"


def attempts(authenticator: Authenticator, header: str, number: int = 1) -> list[Outcome | None]:
    return [authenticator.decide(FakeRequest(header)).outcome for _ in range(number)]


@pytest.mark.parametrize(
    ("hashed", "scheme"),
    [(sha256(b"x").hexdigest(), "hex_sha256"), (slow("x"), "pbkdf2_sha256")],
    ids=["plain SHA", "slow hash"],
)
@pytest.mark.parametrize("marked", [True, False], ids=["with its scheme", "without"])
def test_hash_written_by_sql_is_refused_counted_and_left_unchanged(
    world: World, hashed: str, scheme: str, marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keys = put(world, world.register(), hashed, scheme if marked else None, OLD)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, keys.basic("x"), 25) == [Outcome.WRONG_SECRET] * 25
    assert stored(world, keys) == (hashed, scheme if marked else None)
    assert world.recorded(keys.public_key) == {"wrong_secret": 25}
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]
    assert caplog.text.count("was not written by an import") == 1


def test_hash_written_by_sql_under_a_new_format_key_is_refused(world: World) -> None:
    keys = world.register()
    keys = put(world, keys, sha256(b"x").hexdigest(), None, make_key_pair().public_key)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, keys.basic("x")) == [Outcome.WRONG_SECRET]


def test_digest_copied_to_another_row_is_refused(world: World) -> None:
    own, victim = world.register("own"), world.register("victim")
    put(world, victim, stored(world, own)[0], None, victim.public_key)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, victim.basic(own.secret)) == [Outcome.WRONG_SECRET]
        assert attempts(authenticator, victim.basic()) == [Outcome.WRONG_SECRET]
        assert attempts(authenticator, own.basic()) == [Outcome.ACCEPTED]


def test_row_with_the_public_key_of_another_row_is_refused(world: World) -> None:
    own, victim = world.register("own"), world.register("victim")
    moved = put(world, victim, stored(world, victim)[0], None, FOREIGN)
    own_as_victim = put(world, own, stored(world, own)[0], None, victim.public_key)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, own_as_victim.basic(own.secret)) == [Outcome.WRONG_SECRET]
        assert attempts(authenticator, moved.basic()) == [Outcome.WRONG_SECRET]


def test_copied_or_edited_imported_hash_is_refused(world: World) -> None:
    own, victim = world.register("own"), world.register("victim")
    own = have(world, own, slow(own.secret), "pbkdf2_sha256")
    victim = have(world, victim, slow(victim.secret), "pbkdf2_sha256", FOREIGN)
    sealed, scheme = stored(world, victim)
    put(world, victim, stored(world, own)[0], scheme, FOREIGN)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, victim.basic(own.secret)) == [Outcome.WRONG_SECRET]
    seal = sealed.rpartition("$pbkdf2")[0]
    put(world, victim, f"{seal}{slow('x')}", scheme, FOREIGN)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, victim.basic("x")) == [Outcome.WRONG_SECRET]
    put(world, victim, sealed, scheme, FOREIGN)
    with world.authenticator() as authenticator:
        assert attempts(authenticator, victim.basic()) == [Outcome.ACCEPTED]
        assert stored(world, victim)[0].startswith("$octy-b2$")
