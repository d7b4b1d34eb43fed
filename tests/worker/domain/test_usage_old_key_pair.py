"""Uses of the old key pair in its overlap, the mails about it, and the first use of the new one."""

import time

import pytest
from support import mail_rig
from support.cli_rig import fail, octy_for
from support.in_session import in_session
from support.mail_rig import DAY, PUBLIC_KEY, START, RecordingMailer, open_world
from support.orders import receipts_of
from support.world import FakeRequest, Keys, World
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import utc
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import Answer, KeyPairCause
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.activities.regenerations import RegenerationActivities
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.incidents import CUSTOMER
from octy_worker.mail.repository import CAPPED
from octy_workflows.messages import (
    MailKind,
    OpenRegenerationInput,
    RegenerationStepInput,
    SendMailInput,
    SendMailResult,
)

HOUR = 3600.0


@pytest.fixture
def mail_world(tmp_path):
    """Mail texts do not depend on the database."""
    yield from open_world(tmp_path, "sqlite")


def order(regeneration_id):
    return SendMailInput(regeneration_id, MailKind.STILL_USED, 1, START)


def both(rendered):
    return " ".join(rendered.text.split()), " ".join(rendered.html.split())


# Uses by source


def use(world: World, keys: Keys, source: str, *, times: int = 1, user_agent: str = "") -> None:
    with world.authenticator() as authenticator:
        for _ in range(times):
            request = FakeRequest(keys.basic(), peer=source, headers={b"user-agent": [user_agent.encode()]})
            assert authenticator.decide(request).outcome is Outcome.ACCEPTED


def replaced(world: World, old: Keys, collected_at: float) -> str:
    """Have the key pair replaced, the new secret collected, and the overlap begun."""
    with world.database.write_session() as session:
        pair = regenerations.current_pair(session, old.account_id)
        assert pair is not None
        open_world = regenerations.open_regeneration(
            session,
            old.account_id,
            KeyPairCause.STAFF,
            old_pair_id=pair.id,
            leaked=False,
            actor="ann",
            now=collected_at,
        )
    world.complete(open_world.regeneration_id, collected_at)
    with world.database.write_session() as session:
        regenerations.begin_overlap(session, open_world.regeneration_id, overlap=DAY, now=collected_at)
    return open_world.regeneration_id


def old_uses(world: World, regeneration_id: str) -> list[tuple[str, int, str]]:
    with world.database.read_session() as session:
        view = regenerations.load_regeneration(session, regeneration_id)
        assert view is not None
        return [(found.source, found.count, found.user_agent) for found in regenerations.old_uses(session, view)]


def test_uses_of_the_old_key_pair_since_the_collection_are_found_by_source(world: World) -> None:
    old = world.register()
    use(world, old, "192.0.2.8", times=2, user_agent="app/1")  # before the overlap: counted, and not described
    regeneration_id = replaced(world, old, time.time() - 2 * HOUR)
    use(world, old, "192.0.2.7", user_agent="nightly/1.2")
    use(world, old, "192.0.2.7", times=2, user_agent="nightly/1.3")
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(old.basic("sk_wrong"), peer="198.51.100.9"))
    assert old_uses(world, regeneration_id) == [("192.0.2.7", 3, "nightly/1.3"), ("192.0.2.8", 2, "")]


def test_use_of_a_retiring_key_pair_is_recorded_in_detail_from_the_key_cache(world: World) -> None:
    """Also one by a header that was right a moment ago; and many leave no more details than refusals do."""
    old = world.register()
    with world.authenticator(attempts_per_minute=3) as authenticator:
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        replaced(world, old, time.time())
        for number in range(20):
            request = FakeRequest(old.basic(), headers={b"user-agent": [f"app/{number}".encode()]})
            assert authenticator.decide(request).outcome is Outcome.ACCEPTED
    assert world.recorded(old.public_key) == {"accepted": 21}
    details = world.rows("SELECT user_agent, outcome FROM attempt ORDER BY id")
    assert 3 <= len(details) <= 6  # of one minute, or of two
    assert details[-1] == ("app/19", "accepted")


def test_count_old_key_uses_raises_for_an_unknown_regeneration(tmp_path) -> None:
    world = World(tmp_path)
    activities = RegenerationActivities(world.database, world.hasher, world.sealer, reveal_link_ttl=DAY)
    old = world.register()
    use(world, old, "192.0.2.7", times=3)
    use(world, old, "192.0.2.8", times=2)
    regeneration_id = replaced(world, old, time.time() - 2 * HOUR)
    assert [
        activities.count_old_key_uses(RegenerationStepInput(which, 0))
        for which in (regeneration_id, old.regeneration_id)
    ] == [5, 0]
    with pytest.raises(ApplicationError, match="no regeneration") as raised:  # another worker may have it
        activities.count_old_key_uses(RegenerationStepInput("01890c2e-0000-7000-8000-000000000000", 0))
    assert not raised.value.non_retryable


def test_uses_before_the_collection_or_of_an_ended_key_pair_are_not_counted(world: World) -> None:
    old = world.register()
    use(world, old, "192.0.2.7")
    regeneration_id = replaced(world, old, time.time() + 60)  # the next minute has begun by then
    assert old_uses(world, regeneration_id) == []
    again = replaced(world, world.register("other"), time.time() - 2 * HOUR)
    with world.database.write_session() as session:
        regenerations.retire_old(session, again, time.time())
    assert old_uses(world, again) == []
    assert old_uses(world, old.regeneration_id) == []  # a first key pair has no old one


# Mails to the customer


def test_still_used_mail_has_source_count_last_time_and_end(mail_world):
    sources = [(f"203.0.113.{number}", number * 100) for number in range(1, 8)]
    regeneration_id = mail_world.overlap(*sources, first_used_at=utc(START - 60))
    mail_world.failures("203.0.113.7", 1, user_agent="nightly/1.2 <b>", outcome=Outcome.ACCEPTED, ago=HOUR)
    rendered = mail_world.rendered(order(regeneration_id))
    assert rendered.subject == "Octy: your old API keys are still in use and stop working soon"
    for form in both(rendered):
        for fact in (
            "2,801 requests came with the old key pair",
            PUBLIC_KEY,
            "2026-02-02 08:40:00 UTC",  # its end
            "2026-02-02 00:40:00 UTC",  # the collection
            "2026-02-02 02:39:00 UTC",  # the new key pair's first use
            "203.0.113.7",
            "last at 2026-02-02 01:40:00 UTC",
            "nightly/1.2",
            "203.0.113.3",
            "2 more sources",
        ):
            assert fact in form
        assert "203.0.113.2 " not in form
    assert "http" not in rendered.text
    assert "<b>" not in rendered.html


def test_still_used_mail_says_that_the_new_key_pair_was_never_used(mail_world):
    for form in both(mail_world.rendered(order(mail_world.overlap(("203.0.113.7", 1))))):
        assert "not yet" in form


def test_still_used_mail_does_not_count_under_the_daily_cap(mail_world):
    """No one outside can cause it, and a day later it would be too late."""
    mailer = RecordingMailer()
    activities = mail_world.activities(mailer, mail_daily_cap=1)
    assert activities.send_mail(mail_rig.alert(mail_world.incident())) == SendMailResult("sent")
    regeneration_id = mail_world.overlap(("203.0.113.7", 3))
    assert [activities.send_mail(order(regeneration_id)) for _ in range(2)] == [SendMailResult("sent")] * 2
    assert len(mailer.envelopes) == 2
    assert {MailKind.STILL_USED, MailKind.KEYS_RETIRED}.isdisjoint(CAPPED)


@pytest.mark.parametrize("why", ["unused", "over", "cut"])
def test_obsolete_still_used_mail_is_not_sent(mail_world, why):
    regeneration_id = mail_world.overlap(*([] if why == "unused" else [("203.0.113.7", 3)]))
    if why == "over":
        mail_world.now += 6 * HOUR
    if why == "cut":
        mail_world.retire_old_key_pair()
    mailer = RecordingMailer()
    assert mail_world.activities(mailer).send_mail(order(regeneration_id)) == SendMailResult("skipped", "obsolete")
    assert mailer.envelopes == []


@pytest.mark.parametrize(("used", "said"), [(START - 60, "2026-02-02 02:39:00 UTC"), (None, "has not been used yet")])
@pytest.mark.parametrize("leaked", [False, True])
def test_keys_retired_mail_says_when_the_new_key_pair_was_first_used(mail_world, leaked, used, said):
    regeneration_id = mail_world.overlap(first_used_at=None if used is None else utc(used))
    mail_world.retire_old_key_pair()
    for form in both(mail_world.rendered(SendMailInput(regeneration_id, MailKind.KEYS_RETIRED, 1, START))):
        assert said in form
        assert ("has not been used yet" in form) is (used is None)


def test_first_key_pair_has_no_keys_retired_mail(mail_world):
    first = mail_world.regeneration(old=False)
    report = mail_world.activities(RecordingMailer()).send_mail(SendMailInput(first, MailKind.KEYS_RETIRED, 1, START))
    assert report == SendMailResult("failed", "unknown-subject")


# The new key pair's first use


def test_first_use_of_new_keys_is_recorded_in_the_incident(world: World) -> None:
    """The recorder writes it down at the key pair, on either database; timeline and JSON read it there."""
    old = world.register()
    fail(world, old)
    ((incident_id,),) = world.rows("SELECT id FROM incident")
    now = time.time()
    in_session(
        world.database, incidents.answer_incident, incident_id, Answer.NOT_US, leaked=False, by=CUSTOMER, now=now
    )
    case = IncidentActivities(world.database, receipts_of(world), quiet=HOUR)
    new = world.complete(case.open_regeneration(OpenRegenerationInput(incident_id, at=now)), now)
    octy = octy_for(world)

    def first_uses() -> list[dict]:
        lines = octy("incidents", "show", incident_id, "--json").must().json["timeline"]
        return [line for line in lines if line["what"] == "new_keys_first_used"]

    assert first_uses() == []
    use(world, old, "192.0.2.7")
    assert first_uses() == []
    use(world, new, "192.0.2.7")
    [line] = first_uses()
    use(world, new, "192.0.2.7")
    assert first_uses() == [line]
    assert (line["actor"], line["detail"]) == ("customer", {"public_key": new.public_key})
    report = octy("incidents", "show", incident_id, "--json").must().json
    assert report["regeneration"]["new_first_used_at"] == line["at"]
    shown = " ".join(octy("incidents", "show", incident_id, COLUMNS="200").must().stdout.split())
    assert "customer new keys first used" in shown
    assert ", first used 20" in shown
