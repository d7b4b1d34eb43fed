"""Amendments in SQL: what is withdrawn, what is ordered, and that repeats have no effect."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.in_session import in_session
from support.orders import receipts_of
from support.world import LIFE, FakeRequest, Keys, World

from octy_middleware.clock import utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.models import Incident, Notice
from octy_middleware.states import Answer, KeyPairCause, RegenerationState, Resolution
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.domain import incidents, regenerations
from octy_worker.errors import RefusedError
from octy_worker.staff.amendments import Amendment, amend_answer
from octy_worker.staff.outputs import AmendmentResult
from octy_workflows.messages import CloseIncidentInput, OpenRegenerationInput

NOW = time.time() + 86_400
DISMISS = Amendment(Answer.IT_WAS_US, False, "dan", "they found their own script", "c-1")
REGENERATE = Amendment(Answer.NOT_US, False, "eve", "they called", "c-2")
LEAKED = Amendment(Answer.NOT_US, True, "eve", "seen in a public repo", "c-3")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[World]:
    """A world on a file: what is tested with it has no SQL of its own."""
    world = World(tmp_path)
    yield world
    world.close()


def open_case(world: World, keys: Keys) -> str:
    with world.authenticator() as authenticator:
        for _ in range(20):
            authenticator.decide(FakeRequest(keys.basic("sk_wrong")))
    [(incident_id,)] = world.rows("SELECT id FROM incident WHERE closed_at IS NULL")
    return incident_id


def answered(world: World, said: Answer | None, *, leaked: bool = False) -> tuple[Keys, str]:
    keys = world.register()
    incident_id = open_case(world, keys)
    if said is not None:
        in_session(
            world.database, incidents.answer_incident, incident_id, said, leaked=leaked, by=incidents.CUSTOMER, now=NOW
        )
    return keys, incident_id


def ordered(world: World, incident_id: str, *, after: str = "") -> str:
    """Have the workflow order new keys."""
    desk = IncidentActivities(world.database, receipts_of(world), quiet=3600.0)
    return desk.open_regeneration(OpenRegenerationInput(incident_id, at=NOW, after=after))


def sent(world: World, regeneration_id: str) -> str:
    with world.database.write_session() as session:
        regenerations.issue_key_pair(session, world.hasher, world.sealer, regeneration_id, ttl=LIFE, now=NOW)
    with world.database.write_session() as session:
        regenerations.activate(session, regeneration_id, NOW)
    return regeneration_id


def close(world: World, incident_id: str, resolution: Resolution) -> None:
    with world.database.write_session() as session:
        assert incidents.close_incident(session, incident_id, resolution, quiet=3600.0, now=NOW)


def change(world: World, incident_id: str, amendment: Amendment) -> AmendmentResult:
    return in_session(world.database, amend_answer, incident_id, amendment, NOW)


def refused(world: World, incident_id: str, amendment: Amendment) -> str:
    before = everything(world)
    with pytest.raises(RefusedError) as caught:
        change(world, incident_id, amendment)
    assert everything(world) == before
    return str(caught.value)


def everything(world: World) -> list[list[tuple]]:
    tables = ("incident_answer", "incident", "incident_event", "regeneration", "sealed_secret", "key_pair", "outbox")
    return [world.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


def standing(world: World) -> tuple:
    return world.rows("SELECT answer, leaked, answered_by FROM incident_answer")[0]


def pair_states(world: World) -> dict[str, str]:
    return dict(world.rows("SELECT public_key, state FROM key_pair"))


def told(world: World, subject: str) -> list[str]:
    return [kind for (kind,) in world.rows("SELECT kind FROM outbox WHERE subject_id = :s ORDER BY id", s=subject)]


# While the incident is open


@pytest.mark.parametrize("made", [True, False], ids=["sent", "before_there_is_a_pair"])
def test_amendment_withdraws_uncollected_new_keys(world: World, made: bool) -> None:
    keys, incident_id = answered(world, Answer.NOT_US)
    regeneration_id = ordered(world, incident_id)
    if made:
        sent(world, regeneration_id)
    assert change(world, incident_id, DISMISS) == AmendmentResult(closed=False, withdrawn=regeneration_id)
    assert standing(world)[0] == "it_was_us"
    states = pair_states(world)
    assert states.pop(keys.public_key) == "active"
    assert set(states.values()) <= {"retired"}
    assert world.rows("SELECT 1 FROM key_pair WHERE replaced_by IS NOT NULL") == []
    assert in_session(world.database, regenerations.collect, world.sealer, regeneration_id, 1, NOW) is None
    # The incident is notified of the amendment before the end of the regeneration that it waits for.
    assert told(world, incident_id)[-2:] == ["incident_changed", "regeneration_finished"]
    assert told(world, regeneration_id)[-1] == "regeneration_superseded"
    [(actor, what)] = world.rows("SELECT actor, what FROM incident_event WHERE what = 'answer_amended'")
    assert (actor, what) == ("dan", "answer_amended")


def test_repeated_amendment_has_no_second_effect_even_after_a_later_one(file: World) -> None:
    _, incident_id = answered(file, Answer.NOT_US)
    ordered(file, incident_id)
    change(file, incident_id, DISMISS)
    assert "was made before" in refused(file, incident_id, DISMISS)
    change(file, incident_id, REGENERATE)
    before = everything(file)
    assert "was made before" in refused(file, incident_id, DISMISS)
    assert everything(file) == before
    assert standing(file)[0] == "not_us"


def test_amendment_after_collection_withdraws_nothing(file: World) -> None:
    _, incident_id = answered(file, Answer.NOT_US)
    file.complete(ordered(file, incident_id), NOW)
    assert "the customer has collected the new keys" in refused(file, incident_id, DISMISS)


def test_racing_collection_and_withdrawal_have_exactly_one_winner(world: World) -> None:
    keys, incident_id = answered(world, Answer.NOT_US)
    regeneration_id = sent(world, ordered(world, incident_id))

    def withdraw() -> bool:
        try:
            return change(world, incident_id, DISMISS).withdrawn is not None
        except RefusedError:
            return False

    with ThreadPoolExecutor(4) as pool:
        taken = [
            pool.submit(
                lambda: (
                    in_session(world.database, regenerations.collect, world.sealer, regeneration_id, 1, NOW) is not None
                )
            )
            for _ in range(2)
        ]
        back = [pool.submit(withdraw) for _ in range(2)]
        collected, withdrawn = any(one.result() for one in taken), any(one.result() for one in back)
    assert collected is not withdrawn
    [(state,)] = world.rows("SELECT state FROM regeneration WHERE id = :id", id=regeneration_id)
    assert state == (RegenerationState.COLLECTED if collected else RegenerationState.SUPERSEDED)
    assert pair_states(world)[keys.public_key] == "active"
    assert standing(world)[0] == ("not_us" if collected else "it_was_us")


@pytest.mark.parametrize("other", ["staff", "notice", "case"])
def test_amendment_keeps_new_keys_that_another_incident_waits_for(world: World, other: str) -> None:
    keys, incident_id = answered(world, Answer.NOT_US)
    if other == "staff":
        with world.database.write_session() as session:
            old = regenerations.current_pair(session, keys.account_id)
            assert old is not None
            regenerations.open_regeneration(
                session, keys.account_id, KeyPairCause.STAFF, old_pair_id=old.id, leaked=False, actor="ann", now=NOW
            )
    regeneration_id = sent(world, ordered(world, incident_id))
    with world.database.write_session() as session:
        if other == "notice":
            own = {"account_id": keys.account_id, "regeneration_id": regeneration_id, "at": utc(NOW)}
            session.add(Notice(id="n1", kind="exposed", **own))
        if other == "case":
            mine = session.get_one(Incident, incident_id)
            late = next(found for found in [regenerations.load_regeneration(session, regeneration_id)] if found)
            assert late.new_pair is not None
            row = {**mine.model_dump(), "id": "i2", "key_pair_id": late.new_pair.id}
            session.add(Incident(**row))
    assert change(world, incident_id, DISMISS).withdrawn is None
    assert standing(world)[0] == "it_was_us"
    assert in_session(world.database, regenerations.collect, world.sealer, regeneration_id, 1, NOW) is not None


def test_regeneration_requested_after_a_dismissing_amendment_is_not_opened(file: World) -> None:
    _, incident_id = answered(file, Answer.NOT_US)
    assert change(file, incident_id, DISMISS) == AmendmentResult(closed=False)
    assert ordered(file, incident_id) == ""
    assert file.rows("SELECT COUNT(*) FROM regeneration WHERE cause = 'incident'") == [(0,)]


def test_new_keys_can_be_ordered_again_after_a_withdrawal(file: World) -> None:
    _, incident_id = answered(file, Answer.NOT_US)
    first = sent(file, ordered(file, incident_id))
    change(file, incident_id, DISMISS)
    change(file, incident_id, REGENERATE)
    second = ordered(file, incident_id, after=first)
    assert second not in ("", first)
    file.complete(second, NOW)


def test_dismissed_incident_amended_before_its_end_is_not_closed(file: World) -> None:
    _, incident_id = answered(file, Answer.IT_WAS_US)
    change(file, incident_id, REGENERATE)
    desk = IncidentActivities(file.database, receipts_of(file), quiet=3600.0)
    assert not desk.close_incident(CloseIncidentInput(incident_id, Resolution.FALSE_ALARM, NOW))
    assert standing(file) == ("not_us", False, "eve")
    assert file.rows("SELECT closed_at, quiet_until FROM incident, key_pair") == [(None, None)]


@pytest.mark.parametrize("stage", ["answered", "sent", "collected"])
def test_leak_reported_by_an_amendment_retires_the_old_key_pair_at_once(file: World, stage: str) -> None:
    keys, incident_id = answered(file, Answer.NOT_US)
    if stage != "answered":
        regeneration_id = ordered(file, incident_id)
        sent(file, regeneration_id) if stage == "sent" else file.complete(regeneration_id, NOW)
    assert change(file, incident_id, LEAKED) == AmendmentResult(closed=False)
    states = pair_states(file)
    assert states.pop(keys.public_key) == "retired"
    assert set(states.values()) <= {"active"}
    assert standing(file) == ("not_us", True, "eve")
    assert told(file, incident_id)[-1] == "incident_changed"
    if stage == "answered":
        ordered(file, incident_id)
    assert file.rows("SELECT leaked FROM regeneration WHERE cause = 'incident'") == [(True,)]


# Refusals


@pytest.mark.parametrize(
    ("said", "leaked", "amendment", "why"),
    [
        (None, False, DISMISS, "there is no answer to change → octy incidents decide"),
        (Answer.NOT_US, True, DISMISS, "an incident with a leaked secret can't be dismissed"),
        (Answer.NOT_US, False, replace(DISMISS, leaked=True), "an incident with a leaked secret can't be dismissed"),
        (Answer.NOT_US, False, REGENERATE, "this is the current answer already"),
        (Answer.NOT_US, True, LEAKED, "this is the current answer already"),
        (Answer.IT_WAS_US, False, DISMISS, "this is the current answer already"),
    ],
)
def test_amendment_that_is_not_possible_is_refused_without_effect(
    file: World, said: Answer | None, leaked: bool, amendment: Amendment, why: str
) -> None:
    _, incident_id = answered(file, said, leaked=leaked)
    assert why in refused(file, incident_id, amendment)


# After the close


@pytest.mark.parametrize("resolution", [Resolution.FALSE_ALARM, Resolution.UNANSWERED])
@pytest.mark.parametrize("amendment", [REGENERATE, LEAKED], ids=["regenerate", "leaked"])
def test_amendment_of_a_closed_incident_orders_new_keys_and_ends_its_quiet_period(
    file: World, resolution: Resolution, amendment: Amendment
) -> None:
    keys, incident_id = answered(file, Answer.IT_WAS_US if resolution is Resolution.FALSE_ALARM else None)
    close(file, incident_id, resolution)
    done = change(file, incident_id, amendment)
    assert done.closed
    assert "was made before" in refused(file, incident_id, amendment)
    [(regeneration_id, cause, actor)] = file.rows("SELECT id, cause, actor FROM regeneration WHERE cause <> 'first'")
    assert (done.ordered, cause, actor) == (regeneration_id, "staff", "eve")
    assert file.rows("SELECT resolution, regeneration_id FROM incident") == [(str(resolution), regeneration_id)]
    assert file.rows("SELECT quiet_until FROM key_pair") == [(None,)]
    assert pair_states(file)[keys.public_key] == ("retired" if amendment.leaked else "active")
    assert "incident_changed" not in told(file, incident_id)  # its workflow has ended
    assert told(file, regeneration_id) == ["regeneration_opened"]


def test_amendment_to_false_alarm_after_closing_is_recorded(world: World) -> None:
    keys, incident_id = answered(world, None)
    close(world, incident_id, Resolution.UNANSWERED)
    assert change(world, incident_id, DISMISS) == AmendmentResult(closed=True)
    assert standing(world) == ("it_was_us", False, "dan")
    assert pair_states(world) == {keys.public_key: "active"}
    assert change(world, incident_id, REGENERATE).ordered is not None
    assert "new keys were ordered for this incident" in refused(world, incident_id, replace(DISMISS, order_id="c"))


def test_incident_resolved_with_new_keys_cannot_be_amended(file: World) -> None:
    _, incident_id = answered(file, Answer.NOT_US)
    file.complete(ordered(file, incident_id), NOW)
    with file.database.write() as connection:
        run(connection, "UPDATE regeneration SET state = 'done'")
    close(file, incident_id, Resolution.REGENERATED)
    assert "octy keys regenerate" in refused(file, incident_id, DISMISS)
    assert "octy keys regenerate" in refused(file, incident_id, LEAKED)


def test_amendment_is_refused_while_a_later_incident_of_the_key_pair_is_open(file: World) -> None:
    keys, incident_id = answered(file, None)
    close(file, incident_id, Resolution.UNANSWERED)
    later = open_case(file, keys)
    assert f"octy incidents decide {later} regenerate" in refused(file, incident_id, REGENERATE)


def test_amendment_does_not_replace_a_key_pair_replaced_since(file: World) -> None:
    keys, incident_id = answered(file, None)
    close(file, incident_id, Resolution.UNANSWERED)
    with file.database.write_session() as session:
        old = regenerations.current_pair(session, keys.account_id)
        assert old is not None
        opened = regenerations.open_regeneration(
            session, keys.account_id, KeyPairCause.STAFF, old_pair_id=old.id, leaked=True, actor="ann", now=NOW
        )
    file.complete(opened.regeneration_id, NOW)
    assert "the key pair was replaced since" in refused(file, incident_id, REGENERATE)
