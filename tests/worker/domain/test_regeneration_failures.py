"""One regeneration at a time, whatever orders it; the old key pair is active until the new one is collected."""

import time
from collections.abc import Callable

import pytest
from support.in_session import in_session
from support.world import FakeRequest, Keys, World

from octy_middleware.domain.accounts import Accounts
from octy_middleware.domain.notices import create_notice
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import Answer, NoticeKind
from octy_worker.domain.notices import OrderRefusal, load_notice, order_keys, order_refusal
from octy_worker.errors import RefusedError
from octy_worker.staff.key_orders import regenerate
from octy_worker.staff.registration import register
from octy_workflows.messages import (
    DAY,
    FinishRegenerationInput,
    OpenRegenerationInput,
    RegenerationFinalState,
    RegenerationStepInput,
)
from worker.activities.test_activities import ActivityRig

NOW = time.time() + 86_400  # after whatever `World.register` did, however long the run takes


@pytest.fixture
def rig(tmp_path) -> ActivityRig:
    return ActivityRig(World(tmp_path))


# Who orders a regeneration. Each returns the regeneration that the order created or joined, or why there is none.


def staff(rig: ActivityRig, keys: Keys) -> str:
    try:
        with rig.world.database.write_session() as session:
            ordered = regenerate(session, keys.reference, actor="ann", reason="asked for", leaked=False, now=NOW)
    except RefusedError as error:
        return str(error)
    return ordered.regeneration_id


def incident(rig: ActivityRig, keys: Keys) -> str:
    incident_id = rig.incident(keys)
    rig.answer(incident_id, Answer.NOT_US)
    return rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW))


def exposure(rig: ActivityRig, keys: Keys) -> str:
    ((pair_id,),) = rig.world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=keys.public_key)
    detail = {"source": "203.0.113.9", "user_agent": "", "request_id": "r"}
    with rig.world.database.write() as connection:
        notice = create_notice(connection, NoticeKind.EXPOSED, keys.account_id, NOW, detail, key_pair_id=pair_id)
    return on_its_page(rig, notice)


def address(rig: ActivityRig, keys: Keys) -> str:
    known = set(rig.world.rows("SELECT id FROM notice"))
    change = {"contact_email_address": f"new-{len(known)}@acme.example"}
    Accounts(rig.world.database, clock=lambda: NOW).change_contact(keys.reference, change)
    ((notice_id,),) = set(rig.world.rows("SELECT id FROM notice")) - known
    return on_its_page(rig, notice_id)


def on_its_page(rig: ActivityRig, notice_id: str) -> str:
    with rig.world.database.read_session() as session:
        view = load_notice(session, notice_id)
    assert view is not None
    obstacle = order_refusal(view, ttl=14 * DAY, now=NOW)
    if obstacle is not None:
        return obstacle
    assert in_session(rig.world.database, order_keys, notice_id, leaked=False, now=NOW)
    ((regeneration_id,),) = rig.world.rows("SELECT regeneration_id FROM notice WHERE id = :id", id=notice_id)
    return regeneration_id


Order = Callable[[ActivityRig, Keys], str]
JOINS, REPLACED, CASE_IS_OPEN = "joins", str(OrderRefusal.REPLACED), "is open for this key pair"


@pytest.mark.parametrize("made", [False, True], ids=["ordered", "sent"])
@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (staff, staff, JOINS),
        (staff, incident, JOINS),
        (staff, exposure, REPLACED),
        (staff, address, REPLACED),
        (incident, staff, CASE_IS_OPEN),
        (incident, exposure, REPLACED),
        (incident, address, REPLACED),
        (exposure, staff, JOINS),
        (exposure, incident, JOINS),
        (exposure, exposure, REPLACED),
        (exposure, address, REPLACED),
        (address, staff, JOINS),
        (address, incident, JOINS),
        (address, exposure, REPLACED),
        (address, address, REPLACED),
    ],
)
def test_second_regeneration_joins_or_is_refused_with_a_reason(
    rig: ActivityRig, first: Order, second: Order, outcome: str, made: bool
) -> None:
    keys = rig.world.register()
    ordered = first(rig, keys)
    if made:
        rig.sent(ordered)
    answered = second(rig, keys)
    assert (answered == ordered) if outcome == JOINS else (outcome in answered)
    assert waiting(rig) == [ordered]
    assert accepts(rig, keys)


@pytest.mark.parametrize("made", [False, True], ids=["ordered", "sent"])
@pytest.mark.parametrize(("second", "outcome"), [(staff, JOINS), (address, REPLACED)])
def test_regeneration_beside_the_first_issue_joins_it_or_is_refused(
    rig: ActivityRig, second: Order, outcome: str, made: bool
) -> None:
    contact = {"contact_email_address": "security@acme.example"}
    ordered = register(rig.world.database, "acme", contact, actor="test", now=NOW)
    if made:
        rig.sent(ordered.regeneration_id)
    answered = second(rig, Keys("acme", ordered.account_id, ordered.regeneration_id, "", ""))
    assert answered == (ordered.regeneration_id if outcome == JOINS else outcome)
    assert waiting(rig) == [ordered.regeneration_id]


def waiting(rig: ActivityRig) -> list[str]:
    rows = rig.world.rows("SELECT id FROM regeneration WHERE collected_at IS NULL AND finished_at IS NULL")
    return [regeneration_id for (regeneration_id,) in rows]


def accepts(rig: ActivityRig, keys: Keys) -> bool:
    with rig.world.authenticator() as authenticator:
        return authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED


STEPS = ("issue_key_pair", "verify_key_pair", "activate_key_pair")


@pytest.mark.parametrize("leaked", [False, True])
@pytest.mark.parametrize("done", range(len(STEPS) + 1))
def test_regeneration_failed_after_any_step_keeps_the_old_key_pair_unless_leaked(
    rig: ActivityRig, done: int, leaked: bool
) -> None:
    """After so many steps it is abandoned: one failed permanently, the mail was rejected, or it was not collected."""
    keys = rig.world.register()
    regeneration_id = rig.order(keys, leaked=leaked)
    for name in STEPS[:done]:
        getattr(rig.regenerations, name)(RegenerationStepInput(regeneration_id, NOW))
    rig.regenerations.finish_regeneration(
        FinishRegenerationInput(regeneration_id, RegenerationFinalState.ABANDONED, NOW)
    )
    for name in STEPS:  # a try that was under way comes late
        getattr(rig.regenerations, name)(RegenerationStepInput(regeneration_id, NOW))
    states = rig.pairs()
    assert states.pop(keys.public_key) == ("retired" if leaked else "active")
    assert set(states.values()) <= {"retired"}
    assert accepts(rig, keys) is not leaked
    assert waiting(rig) == []
    assert rig.world.rows("SELECT COUNT(*) FROM sealed_secret WHERE sealed IS NOT NULL") == [(0,)]
