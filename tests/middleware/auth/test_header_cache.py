"""The header cache: which requests it accepts, what is recorded of them, and what it holds."""

import gc
import time
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pytest
from support.world import FakeRequest, Keys, World

from octy_middleware import Authenticator, Outcome
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.decision import AuthDecision

NOW = 1_800_000_000.25


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(world: World, clock: Clock) -> Iterator[Authenticator]:
    authenticator = Authenticator(world.settings(header_cache_size=4), clock=clock)
    yield authenticator
    authenticator.close()


def passes(authenticator: Authenticator, header: str, **given: object) -> bool:
    """Say whether a request passes without any look at the database."""
    decision = authenticator.decide_from_memory(FakeRequest(header, **given))
    return isinstance(decision, AuthDecision) and decision.outcome is Outcome.ACCEPTED


def known(world: World, authenticator: Authenticator) -> Keys:
    """Return a key pair whose header the authenticator knows: looked up at its first use, remembered at its second."""
    keys = world.register()
    assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
    assert passes(authenticator, keys.basic())
    assert len(authenticator.header_cache) == 1
    return keys


def test_uses_that_share_one_event_are_all_counted(world: World, authenticator: Authenticator, clock: Clock) -> None:
    keys = known(world, authenticator)
    for second in range(3):
        clock.now = NOW + second
        for source in ("203.0.113.9", "203.0.113.9", "198.51.100.7"):
            assert passes(authenticator, keys.basic(), peer=source)
    clock.now = NOW + 60
    assert passes(authenticator, keys.basic())
    authenticator.close()
    counts = world.rows("SELECT minute, source, count FROM outcome_minute ORDER BY minute, source")
    minute = int(NOW) // 60
    assert counts == [(minute, "198.51.100.7", 3), (minute, "203.0.113.9", 8), (minute + 1, "203.0.113.9", 1)]
    [(last_used,)] = world.rows("SELECT last_used_at FROM key_pair")
    assert last_used == round((NOW + 60) * 1e6)


def test_success_from_the_header_cache_ends_streaks(world: World, authenticator: Authenticator) -> None:
    keys = known(world, authenticator)
    for _ in range(19):
        authenticator.decide(FakeRequest(keys.basic("sk_wrong")))
    assert passes(authenticator, keys.basic())
    for _ in range(19):
        authenticator.decide(FakeRequest(keys.basic("sk_wrong")))
    authenticator.close()
    assert world.rows("SELECT COUNT(*) FROM incident") == [(0,)]


@pytest.mark.parametrize("change", ["one letter more", "another scheme's case", "twice", "over plain HTTP"])
def test_header_cache_hits_only_for_the_same_bytes_over_https(
    world: World, authenticator: Authenticator, change: str
) -> None:
    keys = known(world, authenticator)
    request = {
        "one letter more": FakeRequest(keys.basic(keys.secret + "x")),
        "another scheme's case": FakeRequest(keys.basic().replace("Basic", "basic")),
        "twice": FakeRequest(None, headers={b"authorization": [keys.basic().encode()] * 2}),
        "over plain HTTP": FakeRequest(keys.basic(), scheme="http"),
    }[change]
    hits = authenticator.header_cache.get(request.header(b"authorization")[0], "203.0.113.9")
    assert (hits is not None) is (change in ("twice", "over plain HTTP"))
    outcome = authenticator.decide(request).outcome
    assert outcome == {"one letter more": "wrong_secret", "twice": "ambiguous", "over plain HTTP": "plain_http"}.get(
        change, "accepted"
    )


def test_revoked_key_pair_leaves_the_header_cache_at_once_in_this_process(
    world: World, authenticator: Authenticator
) -> None:
    from octy_middleware.domain import key_pairs

    keys = known(world, authenticator)
    [(pair_id,)] = world.rows("SELECT id FROM key_pair")
    with world.database.write() as connection:
        key_pairs.retire(connection, pair_id, NOW)
    assert not passes(authenticator, keys.basic())
    assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.RETIRED


@pytest.mark.parametrize(("ahead", "expected"), [(9.5, True), (9.999, True), (10.0, False), (3600.0, False)])
def test_cached_retiring_key_pair_is_refused_after_its_end(
    world: World, authenticator: Authenticator, clock: Clock, ahead: float, expected: bool
) -> None:
    keys = world.register()
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = 'retiring', retire_at = ?", round((NOW + 10) * 1e6))
    for _ in range(2):
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
    clock.now = NOW + ahead
    assert passes(authenticator, keys.basic()) is expected


def test_clock_set_back_starts_a_new_second_of_shared_events(
    world: World, authenticator: Authenticator, clock: Clock
) -> None:
    keys = known(world, authenticator)
    clock.now = NOW - 86_400
    assert passes(authenticator, keys.basic())
    authenticator.close()
    assert (int(NOW - 86_400) // 60, 1) in world.rows("SELECT minute, count FROM outcome_minute")


def test_header_cache_does_not_hit_when_key_records_are_not_trusted(world: World, authenticator: Authenticator) -> None:
    keys = known(world, authenticator)
    authenticator.key_cache.stop()
    authenticator.key_cache.memory.trusted_until = time.monotonic() - 1
    assert not passes(authenticator, keys.basic())


def test_header_cache_is_bounded_and_an_evicted_header_is_cached_again(
    world: World, authenticator: Authenticator
) -> None:
    some = [world.register(f"a{number}") for number in range(8)]
    for _ in range(2):
        for keys in some:
            assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
            assert passes(authenticator, keys.basic())
    assert len(authenticator.header_cache) <= 4
    authenticator.close()
    assert world.recorded()["accepted"] == 32


def test_header_cache_holds_no_header_in_clear(world: World, authenticator: Authenticator) -> None:
    keys = known(world, authenticator)
    held = reachable_texts(authenticator.header_cache)
    assert any(keys.public_key in text for text in held)
    assert not [text for text in held if keys.secret in text or keys.basic().removeprefix("Basic ") in text]


def reachable_texts(root: object) -> list[str]:
    """Return every str and bytes that an object refers to, however deep; code and types are left out."""
    seen, found, to_do = {id(root)}, [], [root]
    while to_do:
        for held in gc.get_referents(to_do.pop()):
            if id(held) in seen or isinstance(held, (ModuleType, FunctionType, type)):
                continue
            seen.add(id(held))
            to_do.append(held)
            if isinstance(held, (str, bytes)):
                found.append(held if isinstance(held, str) else held.decode("latin-1"))
    return found
