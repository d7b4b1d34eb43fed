"""Regenerations in SQL: from the order to the end of the old key pair; each step twice, and each race once."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.in_session import in_session
from support.world import LIFE, FakeRequest, Keys, World

from octy_middleware import Outcome
from octy_middleware.db.bulk_sql import run
from octy_middleware.states import KeyPairCause, RegenerationState
from octy_worker.domain import regenerations
from octy_worker.staff.registration import register

NOW = time.time() + 86_400  # after whatever `World.register` did, however long the run takes


def order(
    world: World, keys: Keys, *, leaked: bool = False, old: Keys | None = None
) -> regenerations.OpenedRegeneration:
    with world.database.write_session() as session:
        current = regenerations.current_pair(session, keys.account_id)
        return regenerations.open_regeneration(
            session,
            keys.account_id,
            KeyPairCause.STAFF,
            old_pair_id=pair_id(world, old) if old else current.id if current else None,
            leaked=leaked,
            actor="ann",
            reason="test",
            now=NOW,
        )


def pair_id(world: World, keys: Keys) -> str:
    return world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=keys.public_key)[0][0]


def states(world: World) -> dict[str, str]:
    return dict(world.rows("SELECT public_key, state FROM key_pair"))


def issue(world: World, regeneration_id: str) -> None:
    with world.database.write_session() as session:
        regenerations.issue_key_pair(session, world.hasher, world.sealer, regeneration_id, ttl=LIFE, now=NOW)


def activate(world: World, regeneration_id: str) -> None:
    with world.database.write_session() as session:
        regenerations.activate(session, regeneration_id, NOW)


def finish(world: World, regeneration_id: str, state: RegenerationState) -> RegenerationState:
    with world.database.write_session() as session:
        return regenerations.finish(session, regeneration_id, state, NOW)


def accepts(world: World, keys: Keys) -> bool:
    with world.authenticator() as authenticator:
        return authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED


def test_registration_orders_the_first_key_pair_in_the_same_transaction(world: World) -> None:
    made = register(world.database, "acme", {"contact_email_address": "a@b.example"}, actor="ann", now=NOW)
    assert world.rows("SELECT id, cause, old_pair_id FROM regeneration") == [(made.regeneration_id, "first", None)]
    assert world.rows("SELECT kind, subject_id FROM outbox") == [("regeneration_opened", made.regeneration_id)]


def test_keys_that_were_retired_before_their_collection_are_not_shown(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    issue(world, opened.regeneration_id)
    activate(world, opened.regeneration_id)
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = 'retired' WHERE public_key <> ?", old.public_key)
    assert in_session(world.database, regenerations.collect, world.sealer, opened.regeneration_id, 1, NOW) is None
    assert world.rows("SELECT collected_at FROM regeneration WHERE id = :id", id=opened.regeneration_id) == [(None,)]


def test_every_regeneration_step_is_idempotent(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    for _ in range(2):
        issue(world, opened.regeneration_id)
    assert len(states(world)) == 2
    for _ in range(2):
        with world.database.read_session() as session:
            assert regenerations.verify_new_pair(session, world.hasher, world.sealer, opened.regeneration_id)
        activate(world, opened.regeneration_id)
    new = in_session(world.database, regenerations.collect, world.sealer, opened.regeneration_id, 1, NOW)
    assert new is not None
    assert in_session(world.database, regenerations.collect, world.sealer, opened.regeneration_id, 1, NOW) is None
    assert states(world) == {old.public_key: "active", new.public_key: "active"}
    for _ in range(2):
        with world.database.write_session() as session:
            regenerations.begin_overlap(session, opened.regeneration_id, overlap=60, now=NOW)
    assert states(world)[old.public_key] == "retiring"
    assert accepts(world, old)
    for _ in range(2):
        with world.database.write_session() as session:
            regenerations.retire_old(session, opened.regeneration_id, NOW + 60)
    assert states(world) == {old.public_key: "retired", new.public_key: "active"}
    assert not accepts(world, old)
    for _ in range(2):
        assert finish(world, opened.regeneration_id, RegenerationState.DONE) is RegenerationState.DONE


def test_leaked_key_pair_is_retired_when_its_regeneration_is_ordered(world: World) -> None:
    old = world.register()
    order(world, old, leaked=True)
    assert states(world) == {old.public_key: "retired"}


def test_second_regeneration_of_a_key_pair_joins_and_may_add_leaked(world: World) -> None:
    old = world.register()
    first, second = order(world, old), order(world, old)
    assert (second.regeneration_id, second.joined) == (first.regeneration_id, True)
    third = order(world, old, leaked=True, old=old)
    assert third.joined
    assert states(world) == {old.public_key: "retired"}


def test_regeneration_of_an_uncollected_key_pair_supersedes_its_own(world: World) -> None:
    old = world.register()
    first = order(world, old)
    issue(world, first.regeneration_id)
    activate(world, first.regeneration_id)
    [new_key] = set(states(world)) - {old.public_key}
    second = order(world, old)  # the current key pair is the new one by now
    assert not second.joined
    assert world.rows("SELECT state FROM regeneration WHERE id = :id", id=first.regeneration_id) == [("superseded",)]
    assert in_session(world.database, regenerations.collect, world.sealer, first.regeneration_id, 1, NOW) is None
    assert states(world)[new_key] == "retired"
    # The second one replaces what the first was to replace: no pair is forgotten.
    assert world.rows("SELECT old_pair_id FROM regeneration WHERE id = :id", id=second.regeneration_id) == [
        (pair_id(world, old),)
    ]
    assert len(world.rows("SELECT id FROM outbox WHERE kind = 'regeneration_superseded'")) == 1


@pytest.mark.parametrize(("first_leaked", "second_leaked"), [(True, False), (False, True), (True, True)])
def test_superseding_regeneration_keeps_leaked_and_retires_the_old_key_pair(
    world: World, first_leaked: bool, second_leaked: bool
) -> None:
    old = world.register()
    first = order(world, old, leaked=first_leaked)
    issue(world, first.regeneration_id)
    activate(world, first.regeneration_id)
    second = order(world, old, leaked=second_leaked)
    assert not second.joined
    assert world.rows("SELECT leaked, old_pair_id FROM regeneration WHERE id = :id", id=second.regeneration_id) == [
        (1, pair_id(world, old))
    ]
    assert set(states(world).values()) == {"retired"}
    [(told,)] = world.rows(
        "SELECT detail FROM outbox WHERE kind = 'regeneration_opened' AND subject_id = :id", id=second.regeneration_id
    )
    assert told == '{"leaked": true, "replaces": true}'


@pytest.mark.parametrize("end", ["abandoned", "superseded"])
def test_regeneration_of_a_never_collected_key_pair_replaces_the_one_in_use(world: World, end: str) -> None:
    old = world.register()
    first = order(world, old)
    issue(world, first.regeneration_id)
    activate(world, first.regeneration_id)
    [(never_collected,)] = world.rows("SELECT new_pair_id FROM regeneration WHERE id = :id", id=first.regeneration_id)
    later = None
    if end == "superseded":
        later = order(world, old).regeneration_id
    else:
        finish(world, first.regeneration_id, RegenerationState.ABANDONED)
    with world.database.write_session() as session:
        opened = regenerations.open_regeneration(
            session,
            old.account_id,
            KeyPairCause.STAFF,
            old_pair_id=never_collected,
            leaked=False,
            actor="ann",
            reason="test",
            now=NOW,
        )
    assert opened.joined is (end == "superseded")
    assert later in (None, opened.regeneration_id)
    assert world.rows("SELECT old_pair_id FROM regeneration WHERE id = :id", id=opened.regeneration_id) == [
        (pair_id(world, old),)
    ]


def test_fifty_concurrent_collections_show_the_secret_once(world: World) -> None:
    opened = order(world, world.register())
    issue(world, opened.regeneration_id)
    activate(world, opened.regeneration_id)
    with ThreadPoolExecutor(16) as pool:
        got = list(
            pool.map(
                lambda _: in_session(
                    world.database, regenerations.collect, world.sealer, opened.regeneration_id, 1, NOW
                ),
                range(50),
            )
        )
    assert sum(keys is not None for keys in got) == 1
    assert world.rows("SELECT sealed FROM sealed_secret WHERE regeneration_id = :id", id=opened.regeneration_id) == [
        (None,)
    ]


def test_link_works_for_its_generation_until_it_expires(world: World) -> None:
    opened = order(world, world.register())
    issue(world, opened.regeneration_id)
    activate(world, opened.regeneration_id)
    for generation, later, works in ((2, 0.0, False), (1, LIFE + 1, False), (1, LIFE - 1, True)):
        keys = in_session(
            world.database, regenerations.collect, world.sealer, opened.regeneration_id, generation, NOW + later
        )
        assert (keys is not None) is works, (generation, later)


def test_renewed_link_invalidates_the_older_one_and_a_repeat_renews_once(world: World) -> None:
    opened = order(world, world.register())
    issue(world, opened.regeneration_id)
    activate(world, opened.regeneration_id)
    for _ in range(2):
        with world.database.write_session() as session:
            assert regenerations.renew_link(session, opened.regeneration_id, 2, ttl=LIFE, now=NOW + LIFE) == 2
    assert (
        in_session(world.database, regenerations.collect, world.sealer, opened.regeneration_id, 1, NOW + LIFE + 1)
        is None
    )
    assert (
        in_session(world.database, regenerations.collect, world.sealer, opened.regeneration_id, 2, NOW + LIFE + 1)
        is not None
    )
    with world.database.write_session() as session:
        assert regenerations.renew_link(session, opened.regeneration_id, 3, ttl=LIFE, now=NOW) == 0


def test_abandoned_regeneration_ends_its_new_key_pair_and_keeps_the_old(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    issue(world, opened.regeneration_id)
    activate(world, opened.regeneration_id)
    assert finish(world, opened.regeneration_id, RegenerationState.ABANDONED) is RegenerationState.ABANDONED
    assert sorted(states(world).values()) == ["active", "retired"]
    assert states(world)[old.public_key] == "active"
    assert world.rows("SELECT sealed FROM sealed_secret WHERE regeneration_id = :id", id=opened.regeneration_id) == [
        (None,)
    ]
    assert not order(world, old, old=old).joined


def test_keys_collected_before_the_end_are_kept(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    new = world.complete(opened.regeneration_id)
    assert finish(world, opened.regeneration_id, RegenerationState.ABANDONED) is RegenerationState.COLLECTED
    assert accepts(world, new)
    assert finish(world, opened.regeneration_id, RegenerationState.DONE) is RegenerationState.DONE


def test_new_key_pair_authenticates_only_once_it_is_active(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    issue(world, opened.regeneration_id)
    assert sorted(states(world).values()) == ["active", "pending"]
    new = world.complete(opened.regeneration_id)
    assert accepts(world, new)
    assert accepts(world, old)


def test_key_pair_with_a_wrong_digest_does_not_verify(world: World) -> None:
    opened = order(world, world.register())
    issue(world, opened.regeneration_id)
    with world.database.write() as connection:
        run(connection, "UPDATE key_pair SET secret_digest = ? WHERE state = 'pending'", f"$octy-b2$k1${'0' * 64}")
    with world.database.read_session() as session:
        assert not regenerations.verify_new_pair(session, world.hasher, world.sealer, opened.regeneration_id)


def test_second_first_issue_joins(world: World) -> None:
    made = register(world.database, "acme", {"contact_email_address": "a@b.example"}, actor="ann", now=NOW)
    with world.database.write_session() as session:
        again = regenerations.open_regeneration(
            session, made.account_id, KeyPairCause.STAFF, old_pair_id=None, leaked=False, actor="ann", now=NOW
        )
    assert again == regenerations.OpenedRegeneration(made.regeneration_id, joined=True)


@pytest.mark.parametrize("finished", [False, True])
def test_replaced_key_pair_is_not_replaced_again(world: World, finished: bool) -> None:
    """An incident of the old key pair that is answered during or after the overlap joins what replaced it."""
    old = world.register()
    first = order(world, old)
    new = world.complete(first.regeneration_id)
    if finished:
        finish(world, first.regeneration_id, RegenerationState.DONE)
    second = order(world, old, old=old, leaked=True)
    assert (second.regeneration_id, second.joined) == (first.regeneration_id, True)
    assert states(world) == {old.public_key: "retired", new.public_key: "active"}


def begin_overlap(world: World, regeneration_id: str, now: float) -> float:
    with world.database.write_session() as session:
        return regenerations.begin_overlap(session, regeneration_id, overlap=3600, now=now)


def test_overlap_counts_from_the_collection_however_late_it_begins(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    world.complete(opened.regeneration_id, NOW)
    assert begin_overlap(world, opened.regeneration_id, NOW + 600) == pytest.approx(NOW + 3600, abs=1e-5)
    assert begin_overlap(world, opened.regeneration_id, NOW + 900) == pytest.approx(NOW + 3600, abs=1e-5)
    [(retire_at, state)] = world.rows("SELECT retire_at, state FROM key_pair WHERE public_key = :k", k=old.public_key)
    assert (retire_at / 1e6, state) == (pytest.approx(NOW + 3600, abs=1e-5), "retiring")


def test_overlap_end_that_is_already_set_is_kept(world: World) -> None:
    old = world.register()
    opened = order(world, old)
    world.complete(opened.regeneration_id, NOW)
    begin_overlap(world, opened.regeneration_id, NOW)
    with world.database.write_session() as session:
        again = regenerations.begin_overlap(session, opened.regeneration_id, overlap=60, now=NOW)
    assert again == pytest.approx(NOW + 3600, abs=1e-5)


def test_regeneration_without_an_active_old_key_pair_has_no_overlap(world: World) -> None:
    old = world.register()
    assert begin_overlap(world, old.regeneration_id, NOW + 600) == NOW + 600
    opened = order(world, old, leaked=True)
    world.complete(opened.regeneration_id, NOW)
    assert begin_overlap(world, opened.regeneration_id, NOW + 600) == NOW + 600
    assert states(world)[old.public_key] == "retired"


def test_link_of_a_regeneration_that_ended_before_its_issue_is_not_renewed(world: World) -> None:
    opened = order(world, world.register())
    finish(world, opened.regeneration_id, RegenerationState.SUPERSEDED)
    with world.database.write_session() as session:
        assert regenerations.renew_link(session, opened.regeneration_id, 2, ttl=LIFE, now=NOW) == 0
