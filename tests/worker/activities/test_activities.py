"""Activities on a real database: they match their declarations, and a repeated call has no second effect."""

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import pytest
from support.cli_rig import fail
from support.in_session import in_session
from support.orders import receipts_of, receive_order, use_order
from support.world import INSTALLATION, LIFE, Keys, World
from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.db.bulk_sql import run
from octy_middleware.states import Answer, KeyPairCause, RegenerationState
from octy_worker.access.roles import Action
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.activities.mail import MailActivities
from octy_worker.activities.maintenance import MaintenanceActivities
from octy_worker.activities.regenerations import RegenerationActivities
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.activities.workflow_messages import WorkflowMessageActivities
from octy_worker.domain import incidents as cases
from octy_worker.domain import regenerations
from octy_worker.domain.incidents import CUSTOMER
from octy_workflows import activities
from octy_workflows.messages import (
    COLLECTED,
    BeginOverlapInput,
    CloseIncidentInput,
    DecisionResult,
    FinishRegenerationInput,
    IncidentState,
    LoadFactsInput,
    OpenRegenerationInput,
    RecordDecisionInput,
    RecordIncidentEventInput,
    RecordRegenerationEventInput,
    RegenerationFinalState,
    RegenerationStepInput,
    RenewLinkInput,
    Resolution,
    Signal,
    StaffAction,
    WebhookStepInput,
)
from octy_workflows.order_content import Choice, StaffDecision
from octy_workflows.retry import SUBJECT_MISSING
from worker.activities import test_mail_activity
from worker.activities import test_workflow_messages as messages

D1 = "0199f2c4-9c3b-7d4e-8a1f-ba9876543211"
NOW = time.time() + 86_400  # after whatever `World.register` did, however long the run takes
HOUR = 3600.0
MISSING = "01890c2e-0000-7000-8000-000000000000"


@dataclass
class ActivityRig:
    """The activities of one worker, and the actions of a customer."""

    world: World
    incidents: IncidentActivities = field(init=False)
    regenerations: RegenerationActivities = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        self.incidents = IncidentActivities(world.database, receipts_of(world), quiet=HOUR)
        self.regenerations = RegenerationActivities(world.database, world.hasher, world.sealer, reveal_link_ttl=LIFE)

    def incident(self, keys: Keys) -> str:
        fail(self.world, keys)
        [(incident_id,)] = self.world.rows("SELECT id FROM incident WHERE closed_at IS NULL")
        return incident_id

    def answer(self, incident_id: str, said: Answer) -> None:
        assert in_session(
            self.world.database, cases.answer_incident, incident_id, said, leaked=False, by=CUSTOMER, now=NOW
        )

    def order(self, keys: Keys, *, leaked: bool = False) -> str:
        """Order a regeneration, as staff does."""
        with self.world.database.write_session() as session:
            old = regenerations.current_pair(session, keys.account_id)
            assert old is not None
            return regenerations.open_regeneration(
                session, keys.account_id, KeyPairCause.STAFF, old_pair_id=old.id, leaked=leaked, actor="ann", now=NOW
            ).regeneration_id

    def sent(self, regeneration_id: str) -> str:
        """Issue the key pair and send its link; it is not collected."""
        step = RegenerationStepInput(regeneration_id, NOW)
        for do in (
            self.regenerations.issue_key_pair,
            self.regenerations.verify_key_pair,
            self.regenerations.activate_key_pair,
        ):
            do(step)
        return regeneration_id

    def events(self, incident_id: str) -> list[tuple]:
        return self.world.rows(
            "SELECT what, actor FROM incident_event WHERE incident_id = :id ORDER BY seq", id=incident_id
        )

    def state(self, incident_id: str) -> str:
        return self.world.rows("SELECT state FROM incident WHERE id = :id", id=incident_id)[0][0]

    def pairs(self) -> dict[str, str]:
        return dict(self.world.rows("SELECT public_key, state FROM key_pair"))

    def told(self, event: str) -> list[str]:
        return [subject for (subject,) in self.world.rows("SELECT subject_id FROM outbox WHERE kind = :k", k=event)]


@pytest.fixture
def rig(world: World) -> ActivityRig:
    return ActivityRig(world)


def twice(do: Callable[[Any], Any], order: Any) -> Any:
    """Return what both calls return."""
    first = do(order)
    assert do(order) == first
    return first


def decision(
    rig: ActivityRig, incident_id: str, choice: Choice = Choice.REGENERATE, number: str = D1, **more: Any
) -> RecordDecisionInput:
    """Have a decision received, as by the command, and mark it as used, as its workflow does."""
    said = StaffDecision(choice, "ann", "on the phone", order_id=number, **more)
    receive_order(rig.world, StaffAction.DECIDE, incident_id, said, NOW)
    use_order(rig.world, number, Action.DECIDE, incident_id, by="this call", now=NOW)
    return RecordDecisionInput(incident_id, number, NOW)


# The declarations


def done() -> dict[str, Callable[..., Any]]:
    """Return every activity of the worker by the name that Temporal knows it by."""
    rooms = (
        WorkflowMessageActivities,
        IncidentActivities,
        RegenerationActivities,
        MailActivities,
        MaintenanceActivities,
        WebhookActivities,
    )
    found = [value for room in rooms for value in vars(room).values()]
    found = [value for value in found if hasattr(value, "__temporal_activity_definition")]
    return {str(activity._Definition.must_from_callable(value).name): value for value in found}


def declared() -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in vars(activities).items() if hasattr(value, "__temporal_activity_definition")}


def test_worker_implements_exactly_the_declared_activities() -> None:
    assert done().keys() == declared().keys()


@pytest.mark.parametrize("name", declared())
def test_activity_signatures_match_their_declarations(name: str) -> None:
    assert get_type_hints(done()[name]) == get_type_hints(declared()[name])
    asks_temporal = name == "reconcile_database"  # which has no other way than the loop's
    assert inspect.iscoroutinefunction(done()[name]) is asks_temporal


@pytest.mark.parametrize("name", declared())
def test_every_activity_has_no_thread_cancel_exception(name: str) -> None:
    assert activity._Definition.must_from_callable(done()[name]).no_thread_cancel_exception


# Incidents


def test_repeated_incident_event_is_recorded_once_and_keeps_the_later_state(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    first = RecordIncidentEventInput(incident_id, "opened", "opened", NOW, state=IncidentState.WAITING)
    twice(rig.incidents.record_incident_event, first)
    rig.incidents.record_incident_event(
        RecordIncidentEventInput(incident_id, "staff", "no_answer", NOW, state=IncidentState.NEEDS_STAFF)
    )
    rig.incidents.record_incident_event(first)
    assert rig.events(incident_id) == [("opened", "system"), ("no_answer", "system")]
    assert rig.state(incident_id) == "needs_staff"


@pytest.mark.parametrize("leaked", [True, False])
def test_accepted_decision_is_recorded_and_retires_a_leaked_key_pair(rig: ActivityRig, leaked: bool) -> None:
    keys = rig.world.register()
    incident_id = rig.incident(keys)
    report = twice(rig.incidents.record_decision, decision(rig, incident_id, leaked=leaked))
    assert report == DecisionResult(True, Choice.REGENERATE, leaked, "ann")
    assert rig.events(incident_id) == [("answered", "ann")]
    assert rig.pairs() == {keys.public_key: "retired" if leaked else "active"}


def test_late_decision_gets_the_earlier_answer_and_is_recorded(rig: ActivityRig) -> None:
    keys = rig.world.register()
    incident_id = rig.incident(keys)
    rig.answer(incident_id, Answer.IT_WAS_US)
    report = twice(rig.incidents.record_decision, decision(rig, incident_id, leaked=True))
    assert report == DecisionResult(False, Choice.DISMISS, False, "customer")
    assert rig.events(incident_id) == [("answered", "customer"), ("decision_refused", "ann")]
    assert rig.world.rows("SELECT key FROM incident_event WHERE what = 'decision_refused'") == [
        (f"{incident_id}/refused-{D1}",)
    ]
    assert rig.pairs() == {keys.public_key: "active"}


def test_decision_of_an_order_that_was_not_used_is_retried(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    with pytest.raises(ApplicationError, match=f"no staff order {D1}") as caught:
        rig.incidents.record_decision(RecordDecisionInput(incident_id, D1, NOW))
    assert (caught.value.type, caught.value.non_retryable) == (SUBJECT_MISSING, False)


def test_decision_of_an_order_that_was_changed_after_its_use_is_retried(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    step = decision(rig, incident_id)
    with rig.world.database.write() as connection:
        run(connection, "UPDATE staff_order SET body = REPLACE(body, ?, 'another')", INSTALLATION)
    with pytest.raises(ApplicationError, match=f"no staff order {D1}"):
        rig.incidents.record_decision(step)


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ("UPDATE incident SET failures = length + 1", Signal.FAILURES_INCREASED),
        ("UPDATE incident_answer SET answer = 'it_was_us'", Signal.CUSTOMER_ANSWERED),  # by an amendment
    ],
)
def test_incident_facts_confirm_the_signals_that_rows_show(rig: ActivityRig, change: str, signal: Signal) -> None:
    facts = LoadFactsInput(rig.incident(rig.world.register()), NOW)
    with rig.world.database.write() as connection:
        run(connection, "UPDATE incident SET failures = length")
    assert rig.incidents.load_incident_facts(facts).recorded_signals == []
    with rig.world.database.write() as connection:
        run(connection, change)
    assert rig.incidents.load_incident_facts(facts).recorded_signals == [signal]


def test_open_regeneration_opens_one_regeneration_per_incident(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    rig.answer(incident_id, Answer.NOT_US)
    before = set(rig.told("regeneration_opened"))
    regeneration_id = twice(rig.incidents.open_regeneration, OpenRegenerationInput(incident_id, at=NOW))
    assert set(rig.told("regeneration_opened")) - before == {regeneration_id}
    [(cause, actor, leaked)] = rig.world.rows(
        "SELECT cause, actor, leaked FROM regeneration WHERE id = :id", id=regeneration_id
    )
    assert (cause, actor, leaked) == ("incident", "customer", 0)


def test_incident_joins_an_open_regeneration_and_is_notified_of_its_end(rig: ActivityRig) -> None:
    keys = rig.world.register()
    incident_id, ordered = rig.incident(keys), rig.order(keys)
    rig.answer(incident_id, Answer.NOT_US)
    assert twice(rig.incidents.open_regeneration, OpenRegenerationInput(incident_id, at=NOW)) == ordered
    twice(
        rig.regenerations.finish_regeneration, FinishRegenerationInput(ordered, RegenerationFinalState.ABANDONED, NOW)
    )
    assert rig.told("regeneration_finished") == [incident_id]


def test_incident_that_joins_after_the_end_is_notified_once(rig: ActivityRig) -> None:
    keys = rig.world.register()
    incident_id, ordered = rig.incident(keys), rig.order(keys)
    rig.answer(incident_id, Answer.NOT_US)
    rig.world.complete(ordered, NOW)
    rig.regenerations.finish_regeneration(FinishRegenerationInput(ordered, RegenerationFinalState.DONE, NOW))
    rig.answer(incident_id, Answer.NOT_US)
    with rig.world.database.write() as connection:
        run(connection, "UPDATE incident_answer SET leaked = ?", True)
    assert rig.told("regeneration_finished") == []
    assert twice(rig.incidents.open_regeneration, OpenRegenerationInput(incident_id, at=NOW)) == ordered
    assert rig.told("regeneration_finished") == [incident_id]
    assert rig.pairs()[keys.public_key] == "retired"


@pytest.mark.parametrize("state", [RegenerationState.OPEN, RegenerationState.ABANDONED])
@pytest.mark.parametrize("after", ["", MISSING])
def test_open_regeneration_keeps_the_regeneration_unless_it_failed(
    rig: ActivityRig, after: str, state: RegenerationState
) -> None:
    incident_id = rig.incident(rig.world.register())
    rig.answer(incident_id, Answer.NOT_US)
    first = rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW))
    if state is RegenerationState.ABANDONED:
        rig.regenerations.finish_regeneration(FinishRegenerationInput(first, RegenerationFinalState.ABANDONED, NOW))
    again = OpenRegenerationInput(incident_id, at=NOW, after=after)
    assert twice(rig.incidents.open_regeneration, again) == first


def test_open_regeneration_after_a_failed_one_opens_exactly_one(rig: ActivityRig) -> None:
    keys = rig.world.register()
    incident_id = rig.incident(keys)
    rig.answer(incident_id, Answer.NOT_US)
    first = rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW))
    rig.regenerations.finish_regeneration(FinishRegenerationInput(first, RegenerationFinalState.ABANDONED, NOW))
    rig.answer(incident_id, Answer.NOT_US)
    follow = OpenRegenerationInput(incident_id, at=NOW, after=first)
    second = twice(rig.incidents.open_regeneration, follow)
    assert second != first
    assert rig.told("regeneration_opened").count(second) == 1


def test_incident_joins_the_regeneration_that_superseded_its_own(rig: ActivityRig) -> None:
    """Also an incident about the key pair of the superseded one, which was never collected."""
    keys = rig.world.register()
    incident_id = rig.incident(keys)
    rig.answer(incident_id, Answer.NOT_US)
    first = rig.sent(rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW)))
    [(uncollected,)] = rig.world.rows("SELECT public_key FROM key_pair WHERE state = 'active' ORDER BY id DESC LIMIT 1")
    second = rig.order(keys)
    assert rig.told("regeneration_finished") == [incident_id]
    follow = OpenRegenerationInput(incident_id, at=NOW, after=first)
    assert twice(rig.incidents.open_regeneration, follow) == second
    with rig.world.database.write() as connection:
        run(
            connection,
            "UPDATE incident SET key_pair_id = (SELECT id FROM key_pair WHERE public_key = ?), regeneration_id = ?",
            uncollected,
            first,
        )
    assert twice(rig.incidents.open_regeneration, follow) == second


RESTS_ON = {
    Resolution.UNANSWERED: "",
    Resolution.FALSE_ALARM: "UPDATE incident_answer SET answer = 'it_was_us'",
    Resolution.REGENERATED: "UPDATE incident_answer SET answer = 'not_us'",
}


def ready_to_close(rig: ActivityRig, resolution: Resolution) -> str:
    """An incident of which SQL holds what this end rests on."""
    keys = rig.world.register()
    incident_id = rig.incident(keys)
    if resolution is Resolution.REGENERATED:
        with rig.world.database.write() as connection:
            done = "UPDATE regeneration SET state = 'done' WHERE id = ?"
            run(connection, done, keys.regeneration_id)
            run(connection, "UPDATE incident SET regeneration_id = ?", keys.regeneration_id)
    if RESTS_ON[resolution]:
        with rig.world.database.write() as connection:
            run(connection, RESTS_ON[resolution])
    return incident_id


@pytest.mark.parametrize("resolution", list(Resolution))
def test_close_incident_closes_once(rig: ActivityRig, resolution: Resolution) -> None:
    incident_id = ready_to_close(rig, resolution)
    assert twice(rig.incidents.close_incident, CloseIncidentInput(incident_id, resolution, NOW))
    assert rig.events(incident_id) == [("closed", "system")]
    assert rig.world.rows("SELECT COUNT(*) FROM streak") == [(0,)]
    [(quiet_until,)] = rig.world.rows("SELECT quiet_until FROM key_pair")
    assert (quiet_until is not None) is (resolution is Resolution.FALSE_ALARM)


@pytest.mark.parametrize("asked", list(Resolution))
@pytest.mark.parametrize("held", [*Resolution, "keys under way"])
def test_close_incident_follows_the_answer_in_sql(rig: ActivityRig, asked: Resolution, held: str) -> None:
    known = held if held in list(Resolution) else Resolution.REGENERATED
    incident_id = ready_to_close(rig, Resolution(known))
    if held != known:
        with rig.world.database.write() as connection:
            run(connection, "UPDATE regeneration SET state = 'sent'")
    assert twice(rig.incidents.close_incident, CloseIncidentInput(incident_id, asked, NOW)) is (asked == held)
    assert (rig.state(incident_id) == "closed") is (asked == held)
    if asked != held:
        assert rig.events(incident_id) == []
        assert rig.world.rows("SELECT quiet_until FROM key_pair") == [(None,)]


@pytest.mark.parametrize("state", list(RegenerationFinalState))
def test_finish_regeneration_follows_the_state_in_sql(rig: ActivityRig, state: RegenerationFinalState) -> None:
    """The keys are uncollected and nothing else was ordered: only the result "abandoned" is possible."""
    keys = rig.world.register()
    regeneration_id = rig.sent(rig.order(keys))
    assert rig.regenerations.begin_overlap(BeginOverlapInput(regeneration_id, NOW, HOUR)) is None
    assert rig.regenerations.retire_old_key_pair(RegenerationStepInput(regeneration_id, NOW + HOUR)) is False
    assert rig.pairs() == dict.fromkeys(rig.pairs(), "active")
    stands = twice(rig.regenerations.finish_regeneration, FinishRegenerationInput(regeneration_id, state, NOW))
    assert stands == (RegenerationFinalState.ABANDONED if state is RegenerationFinalState.ABANDONED else "sent")
    assert rig.pairs()[keys.public_key] == "active"
    assert sorted(rig.pairs().values()) == (["active", "retired"] if stands == state else ["active", "active"])


def test_old_key_pair_is_not_retired_before_its_overlap_ends(rig: ActivityRig) -> None:
    keys = rig.world.register()
    regeneration_id = rig.order(keys)
    rig.world.complete(regeneration_id, NOW)
    rig.regenerations.begin_overlap(BeginOverlapInput(regeneration_id, NOW, HOUR))
    assert rig.regenerations.retire_old_key_pair(RegenerationStepInput(regeneration_id, NOW + HOUR - 2)) is False
    assert rig.pairs()[keys.public_key] == "retiring"
    assert twice(rig.regenerations.retire_old_key_pair, RegenerationStepInput(regeneration_id, NOW + HOUR))
    assert rig.pairs()[keys.public_key] == "retired"


# Regenerations


def fails_for_good(do: Callable[[Any], Any], order: Any) -> None:
    with pytest.raises(ApplicationError) as caught:
        do(order)
    assert caught.value.non_retryable


STEP, END = RegenerationStepInput(MISSING, NOW), FinishRegenerationInput(MISSING, RegenerationFinalState.ABANDONED, NOW)
ABOUT_MISSING = {
    "record_incident_event": RecordIncidentEventInput(MISSING, "n", "opened", NOW),
    "load_incident_facts": LoadFactsInput(MISSING, NOW),
    "record_decision": RecordDecisionInput(MISSING, "", NOW),
    "open_regeneration": OpenRegenerationInput(MISSING, NOW),
    "close_incident": CloseIncidentInput(MISSING, Resolution.UNANSWERED, NOW),
    "load_regeneration_facts": LoadFactsInput(MISSING, NOW),
    **dict.fromkeys(
        ("issue_key_pair", "verify_key_pair", "activate_key_pair", "retire_old_key_pair", "count_old_key_uses"), STEP
    ),
    "renew_link": RenewLinkInput(MISSING, 2, NOW),
    "begin_overlap": BeginOverlapInput(MISSING, NOW, HOUR),
    "finish_regeneration": END,
    "record_regeneration_event": RecordRegenerationEventInput(MISSING, "n", "not_collected", NOW),
    "post_webhook": WebhookStepInput(MISSING, NOW),
    "give_up_webhook": WebhookStepInput(MISSING, NOW),
}
WITHOUT_SUBJECT = {
    "prune_database",
    "reconcile_database",
    "send_digest",
    "record_ignored_signal",
    "record_missing_subject",
}  # or one that may be anything
ASKED_ELSEWHERE = {
    "send_mail": test_mail_activity.test_mail_with_a_missing_subject_is_retried,
    "use_order": messages.test_missing_foreign_or_used_staff_order_is_refused_recorded_and_counted,
}


def test_missing_subject_table_covers_every_activity() -> None:
    assert {*ABOUT_MISSING, *WITHOUT_SUBJECT, *ASKED_ELSEWHERE} == set(declared())


@pytest.mark.parametrize("name", ABOUT_MISSING)
def test_activity_with_a_missing_subject_is_retried_and_says_why(rig: ActivityRig, name: str) -> None:
    hooks = WebhookActivities(rig.world.database, None, lambda: NOW)  # type: ignore[arg-type]
    [room] = [room for room in (rig.incidents, rig.regenerations, hooks) if hasattr(room, name)]
    with pytest.raises(ApplicationError, match=f"{MISSING} in this worker's database") as caught:
        getattr(room, name)(ABOUT_MISSING[name])
    assert (caught.value.type, caught.value.non_retryable) == (SUBJECT_MISSING, False)


def test_key_pair_is_issued_verified_and_activated_once(rig: ActivityRig) -> None:
    keys = rig.world.register()
    step = RegenerationStepInput(rig.order(keys), NOW)
    twice(rig.regenerations.issue_key_pair, step)
    assert sorted(rig.pairs().values()) == ["active", "pending"]
    twice(rig.regenerations.verify_key_pair, step)
    twice(rig.regenerations.activate_key_pair, step)
    assert sorted(rig.pairs().values()) == ["active", "active"]
    assert rig.world.rows("SELECT COUNT(*) FROM sealed_secret WHERE sealed IS NOT NULL") == [(1,)]


def test_leaked_key_pair_is_retired_with_the_activation(rig: ActivityRig) -> None:
    """The order retired it; a key pair that is active again, for whatever reason, does not stay active."""
    keys = rig.world.register()
    step = RegenerationStepInput(rig.order(keys, leaked=True), NOW)
    rig.regenerations.issue_key_pair(step)
    with rig.world.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = 'active' WHERE public_key = ?", keys.public_key)
    twice(rig.regenerations.activate_key_pair, step)
    assert rig.pairs()[keys.public_key] == "retired"


def test_key_pair_that_does_not_verify_fails_without_retry(rig: ActivityRig) -> None:
    step = RegenerationStepInput(rig.order(rig.world.register()), NOW)
    rig.regenerations.issue_key_pair(step)
    with rig.world.database.write() as connection:
        digest = f"$octy-b2$k1${'0' * 64}"
        run(connection, "UPDATE key_pair SET secret_digest = ? WHERE state = 'pending'", digest)
    fails_for_good(rig.regenerations.verify_key_pair, step)


def test_key_pair_that_a_restored_database_lost_fails_without_retry(rig: ActivityRig) -> None:
    """Its workflow has issued it before the backup was restored."""
    fails_for_good(rig.regenerations.verify_key_pair, RegenerationStepInput(rig.order(rig.world.register()), NOW))


def test_renew_link_returns_the_requested_or_a_later_generation(rig: ActivityRig) -> None:
    regeneration_id = rig.sent(rig.order(rig.world.register()))
    assert twice(rig.regenerations.renew_link, RenewLinkInput(regeneration_id, 3, NOW)) == 3
    assert twice(rig.regenerations.renew_link, RenewLinkInput(regeneration_id, 2, NOW)) == 3


@pytest.mark.parametrize("end", [COLLECTED, RegenerationFinalState.ABANDONED, "before it was issued"])
def test_renew_link_does_nothing_after_collection_or_end(rig: ActivityRig, end: str) -> None:
    regeneration_id = rig.order(rig.world.register())
    if end == COLLECTED:
        rig.world.complete(regeneration_id, NOW)
    else:
        if end == RegenerationFinalState.ABANDONED:
            rig.sent(regeneration_id)
        rig.regenerations.finish_regeneration(
            FinishRegenerationInput(regeneration_id, RegenerationFinalState.ABANDONED, NOW)
        )
    assert twice(rig.regenerations.renew_link, RenewLinkInput(regeneration_id, 2, NOW)) == 0


def test_old_key_pair_is_retired_when_the_overlap_ends(rig: ActivityRig) -> None:
    keys = rig.world.register()
    regeneration_id = rig.order(keys)
    rig.world.complete(regeneration_id, NOW)
    late = NOW + 600
    end = twice(rig.regenerations.begin_overlap, BeginOverlapInput(regeneration_id, late, HOUR))
    assert end == pytest.approx(NOW + HOUR, abs=1e-5)
    [(retire_at,)] = rig.world.rows("SELECT retire_at FROM key_pair WHERE state = 'retiring'")
    assert retire_at == round(end * 1e6)
    twice(rig.regenerations.retire_old_key_pair, RegenerationStepInput(regeneration_id, end))
    assert rig.pairs()[keys.public_key] == "retired"
    assert rig.regenerations.begin_overlap(BeginOverlapInput(regeneration_id, late, HOUR)) == late
    assert rig.pairs()[keys.public_key] == "retired"


def test_first_key_pair_has_no_overlap(rig: ActivityRig) -> None:
    keys = rig.world.register()
    assert twice(rig.regenerations.begin_overlap, BeginOverlapInput(keys.regeneration_id, NOW, HOUR)) == NOW
    twice(rig.regenerations.retire_old_key_pair, RegenerationStepInput(keys.regeneration_id, NOW))
    assert rig.pairs() == {keys.public_key: "active"}


def test_finished_regeneration_notifies_its_incidents_once_and_erases_the_secret(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    rig.answer(incident_id, Answer.NOT_US)
    regeneration_id = rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW))
    rig.sent(regeneration_id)
    finish = rig.regenerations.finish_regeneration
    assert (
        twice(finish, FinishRegenerationInput(regeneration_id, RegenerationFinalState.ABANDONED, NOW))
        == RegenerationFinalState.ABANDONED
    )
    assert (
        finish(FinishRegenerationInput(regeneration_id, RegenerationFinalState.DONE, NOW))
        == RegenerationFinalState.ABANDONED
    )  # the ending that it has
    assert rig.told("regeneration_finished") == [incident_id]
    assert rig.world.rows("SELECT COUNT(*) FROM sealed_secret WHERE sealed IS NOT NULL") == [(0,)]
    assert rig.world.rows("SELECT answer FROM incident_answer") == [(None,)]  # to be decided again


@pytest.mark.parametrize("ending", [RegenerationFinalState.ABANDONED, RegenerationFinalState.SUPERSEDED])
def test_finish_regeneration_after_a_collection_changes_nothing(
    rig: ActivityRig, ending: RegenerationFinalState
) -> None:
    regeneration_id = rig.order(rig.world.register())
    rig.world.complete(regeneration_id, NOW)
    assert (
        twice(rig.regenerations.finish_regeneration, FinishRegenerationInput(regeneration_id, ending, NOW)) == COLLECTED
    )
    assert rig.world.rows("SELECT finished_at FROM regeneration WHERE id = :id", id=regeneration_id) == [(None,)]


def test_regeneration_event_is_recorded_once_in_each_waiting_incident(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    rig.answer(incident_id, Answer.NOT_US)
    regeneration_id = rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW))
    note = RecordRegenerationEventInput(regeneration_id, "late", "not_collected", NOW, needs_staff=True)
    twice(rig.regenerations.record_regeneration_event, note)
    assert rig.events(incident_id) == [("answered", "customer"), ("not_collected", "system")]
    assert rig.state(incident_id) == "needs_staff"
    rig.incidents.record_incident_event(
        RecordIncidentEventInput(incident_id, "on", "regenerating", NOW, state=IncidentState.REGENERATING)
    )
    rig.regenerations.record_regeneration_event(note)
    assert rig.state(incident_id) == "regenerating"


def test_incident_returns_from_needs_staff_to_its_new_keys_once(rig: ActivityRig) -> None:
    incident_id = rig.incident(rig.world.register())
    rig.answer(incident_id, Answer.NOT_US)
    regeneration_id = rig.incidents.open_regeneration(OpenRegenerationInput(incident_id, at=NOW))
    rig.incidents.record_incident_event(
        RecordIncidentEventInput(incident_id, "opened", "opened", NOW, state=IncidentState.WAITING)
    )
    rig.regenerations.record_regeneration_event(
        RecordRegenerationEventInput(regeneration_id, "a", "early", NOW, staff_not_needed=True)
    )
    assert rig.state(incident_id) == "waiting"
    rig.regenerations.record_regeneration_event(
        RecordRegenerationEventInput(regeneration_id, "f", "mail_failed", NOW, needs_staff=True)
    )
    done = RecordRegenerationEventInput(regeneration_id, "d", "staff_not_needed", NOW, staff_not_needed=True)
    twice(rig.regenerations.record_regeneration_event, done)
    assert rig.state(incident_id) == "regenerating"
    rig.regenerations.record_regeneration_event(
        RecordRegenerationEventInput(regeneration_id, "g", "mail_failed", NOW, needs_staff=True)
    )
    rig.regenerations.record_regeneration_event(done)  # a repeat that comes late
    assert rig.state(incident_id) == "needs_staff"
    with rig.world.database.write() as connection:
        run(connection, "UPDATE regeneration SET state = 'done' WHERE id = ?", regeneration_id)
    assert rig.incidents.close_incident(CloseIncidentInput(incident_id, Resolution.REGENERATED, NOW))
    rig.regenerations.record_regeneration_event(
        RecordRegenerationEventInput(regeneration_id, "e", "late", NOW, staff_not_needed=True)
    )
    assert rig.state(incident_id) == "closed"


def test_regeneration_event_without_waiting_incidents_records_nothing(rig: ActivityRig) -> None:
    keys = rig.world.register()
    twice(
        rig.regenerations.record_regeneration_event,
        RecordRegenerationEventInput(keys.regeneration_id, "late", "not_collected", NOW),
    )
    assert rig.world.rows("SELECT COUNT(*) FROM incident_event") == [(0,)]
