"""Alerts are held only on evidence of a fault of the host app, 15 minutes at most, and staff is notified at once."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select, update
from support.mail_rig import CHAIN, START, RecordingMailer, open_world, settings

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, AlertHold, KeyPair, OutcomeMinute
from octy_middleware.domain.key_checks import PEPPERS, register_keys
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import KeyPairCause, KeyPairState
from octy_worker.domain.job_lease import JobLease
from octy_worker.mail.alert_hold import (
    MAX_HOLD,
    Evidence,
    FaultIndicators,
    find_evidence,
    load_indicators,
    release_hold,
)
from octy_worker.mail.hold_notice import JOB, HoldNotice
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_workflows.messages import MailKind, SendMailInput, SendMailResult

SUPPORT = "support@octy.example"
HELD = SendMailResult("delayed", "held", retry_after=60.0)

counts = st.integers(0, 10_000)


@given(counts, counts, counts)
def test_alerts_are_not_held_while_one_customer_in_twenty_succeeds(refused, before, since):
    held = find_evidence(FaultIndicators(refused, before, since))
    assert held is None or since * 20 <= before


@given(counts, counts)
def test_alerts_are_not_held_unless_several_customers_are_refused_at_their_own_addresses(before, since):
    assert all(find_evidence(FaultIndicators(refused, before, since)) is None for refused in range(5))


@given(counts, st.integers(0, 9), counts)
def test_alerts_are_not_held_where_few_customers_succeeded_before(refused, before, since):
    assert find_evidence(FaultIndicators(refused, before, since)) is None


@given(counts, counts, counts)
def test_more_successes_are_never_evidence_for_an_alert_hold(refused, before, since):
    if find_evidence(FaultIndicators(refused, before, since)) is None:
        assert find_evidence(FaultIndicators(refused, before, since + 1)) is None


@given(counts, counts, counts)
def test_unfitting_peppers_alone_are_evidence_for_an_alert_hold(refused, before, since):
    assert find_evidence(FaultIndicators(refused, before, since, keys_fit=False)) is Evidence.FOREIGN_KEYS


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def customers(world, number):
    """Add customers that succeed from an address each until a minute ago; return the public key of each."""
    found = []
    for index in range(number):
        account_id, pair_id, public_key = world.new_id(), world.new_id(), f"pk_customer_{index}"
        world.add(
            Account(
                id=account_id,
                reference=f"c{index}",
                contact_email_address=f"c{index}@customer.example",
                security_email=f"c{index}@customer.example",
                created_at=utc(START - 1e6),
            ),
            KeyPair(
                id=pair_id,
                account_id=account_id,
                public_key=public_key,
                secret_digest="-",
                state=KeyPairState.ACTIVE,
                cause=KeyPairCause.FIRST,
                created_at=utc(START - 1e6),
                last_used_at=utc(world.now - 70),
            ),
            OutcomeMinute(
                public_key=public_key,
                minute=int(world.now) // 60 - 2,
                source=f"198.51.100.{index}",
                outcome=Outcome.ACCEPTED,
                count=9,
            ),
        )
        found.append((account_id, pair_id, public_key))
    return found


def refuse(world, customer, source, number=20):
    """Have a customer's key refused so often from an address within the last minute; return the incident's id."""
    account_id, pair_id, public_key = customer
    world.add(
        OutcomeMinute(
            public_key=public_key,
            minute=int(world.now) // 60,
            source=source,
            outcome=Outcome.WRONG_SECRET,
            count=number,
        )
    )
    ours, world.account_id, world.pair_id = (world.account_id, world.pair_id), account_id, pair_id
    incident_id = world.incident(public_key=public_key, closed_at=None, first_at=utc(world.now - 60))
    world.account_id, world.pair_id = ours
    return incident_id


def collapse(world, number=12):
    """Have all customers refused at their own addresses at once, none succeeding any more; return the incidents."""
    return [refuse(world, customer, f"198.51.100.{index}") for index, customer in enumerate(customers(world, number))]


def order(incident_id, waited=0.0):
    return SendMailInput(incident_id, MailKind.ALERT, 1, START, waited)


def holds(world):
    with world.database.read_session() as session:
        return session.exec(select(AlertHold)).all()


def test_failures_of_all_customers_hold_alerts_for_15_minutes_and_notify_staff_once(world):
    mailer, incidents = RecordingMailer(), collapse(world)
    activities = world.activities(mailer, support_digest_to=SUPPORT)
    assert [activities.send_mail(order(incident_id)) for incident_id in incidents[:4]] == [HELD] * 4
    [notice] = mailer.envelopes
    assert notice.recipient == SUPPORT
    assert "are held until" in notice.rendered.subject
    for said in ("octy incidents held", "octy incidents release", "decide-many dismiss --all-open"):
        assert said in " ".join(notice.rendered.text.split())
        assert said.split(" --")[0] in notice.rendered.html
    [hold] = holds(world)
    assert (hold.evidence, hold.staff_notified_at) == ("successes_stopped", utc(START))
    world.now += MAX_HOLD - 1
    assert activities.send_mail(order(incidents[0], MAX_HOLD - 1)).state == "delayed"
    world.now += 1
    assert [activities.send_mail(order(incident_id, MAX_HOLD)).state for incident_id in incidents[:4]] == ["sent"] * 4
    assert len(holds(world)) == 1


def test_staff_releases_held_alerts(world):
    mailer, incidents = RecordingMailer(), collapse(world)
    activities = world.activities(mailer)
    assert activities.send_mail(order(incidents[0])) == HELD
    with world.database.write_session() as session:
        assert release_hold(session, actor="dan", reason="an attack", now=world.now).released_by == "dan"
    assert [activities.send_mail(order(incident_id)).state for incident_id in incidents[:4]] == ["sent"] * 4
    with world.database.write_session() as session:
        assert release_hold(session, actor="eve", reason="again", now=world.now) is None
    assert [(hold.released_by, hold.reason) for hold in holds(world)] == [("dan", "an attack")]


def test_no_second_hold_follows_within_a_day(world):
    incidents = collapse(world)
    activities = world.activities(RecordingMailer())
    activities.send_mail(order(incidents[0]))
    world.now += MAX_HOLD
    assert [activities.send_mail(order(incident_id)).state for incident_id in incidents[:4]] == ["sent"] * 4


def test_alert_hold_ends_after_the_workflow_waited_with_differing_clocks(world):
    incidents = collapse(world)
    activities = world.activities(RecordingMailer())
    assert activities.send_mail(order(incidents[0])) == HELD
    world.now -= 86_400  # the worker's clock jumps back
    assert activities.send_mail(order(incidents[0], MAX_HOLD)).state == "sent"


def test_attackers_cannot_hold_alerts_by_wrong_secrets_for_every_key(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    attacked = [
        refuse(world, customer, "203.0.113.66", 10_000) for customer in customers(world, 12)
    ]  # and no customer sends anything meanwhile
    assert [activities.send_mail(order(incident_id)).state for incident_id in attacked[:4]] == ["sent"] * 4
    assert holds(world) == []


def test_attackers_behind_customers_addresses_cannot_hold_alerts_while_customers_succeed(world):
    incidents = collapse(world, 20)
    with world.database.write_session() as session:
        for pair in session.exec(select(KeyPair).where(KeyPair.account_id != world.account_id).limit(2)).all():
            pair.last_used_at = utc(world.now)
            session.add(pair)
    activities = world.activities(RecordingMailer())
    assert activities.send_mail(order(incidents[5])).state == "sent"
    assert holds(world) == []


def test_foreign_pepper_holds_alerts(world):
    with world.database.write() as connection:
        register_keys(connection, PEPPERS, Keychain.generate(), START)
    mailer = RecordingMailer()
    activities = world.activities(mailer, support_digest_to=SUPPORT)
    [customer] = customers(world, 1)
    incident_id = refuse(world, customer, "203.0.113.66")
    assert activities.send_mail(order(incident_id)) == HELD
    assert "OCTY_PEPPERS" in mailer.envelopes[0].rendered.text
    assert [hold.evidence for hold in holds(world)] == ["foreign_keys"]


def test_fitting_pepper_holds_no_alerts(world):
    with world.database.write() as connection:
        register_keys(connection, PEPPERS, CHAIN, START)
    with world.database.read_session() as session:
        assert load_indicators(session, CHAIN, START) == FaultIndicators()


def test_hold_notice_that_failed_is_retried_with_the_next_held_alert(world):
    mailer = RecordingMailer(SmtpResult(SmtpStatus.DEFERRED, "connection"), SmtpResult(SmtpStatus.ACCEPTED))
    incidents = collapse(world)
    activities = world.activities(mailer, support_digest_to=SUPPORT)
    assert [activities.send_mail(order(incident_id)) for incident_id in incidents[:3]] == [HELD] * 3
    assert Counter(envelope.message_id for envelope in mailer.envelopes).most_common() == [
        (mailer.envelopes[0].message_id, 2)
    ]


def test_hold_notice_is_left_to_the_worker_that_sends_it(world):
    mailer, incidents = RecordingMailer(), collapse(world)
    assert JobLease(world.database, JOB, lambda: world.now).take() is not None
    assert world.activities(mailer, support_digest_to=SUPPORT).send_mail(order(incidents[0])) == HELD
    assert mailer.envelopes == []


def test_hold_notice_that_another_worker_has_just_sent_is_not_sent_again(world):
    [incident_id, *_] = collapse(world)
    assert world.activities(RecordingMailer()).send_mail(order(incident_id)) == HELD
    with world.database.write() as connection:
        connection.execute(update(AlertHold).values(staff_notified_at=None))
    mailer, own, looks = RecordingMailer(), settings(support_digest_to=SUPPORT), count()
    other = HoldNotice(world.database, mailer, MailRenderer(own), own, lambda: world.now)

    def clock():
        if next(looks) == 1:  # after the first look at the hold, before the lease is taken
            other.send()
        return world.now

    HoldNotice(world.database, mailer, MailRenderer(own), own, clock).send()
    assert len(mailer.envelopes) == 1


def test_alert_hold_ends_on_time_when_staff_cannot_be_notified(world):
    class FailingMailer(RecordingMailer):
        def send(self, envelope):
            if envelope.recipient == SUPPORT:
                raise RuntimeError("a fault of ours")
            return super().send(envelope)

    incidents = collapse(world)
    activities = world.activities(FailingMailer(), support_digest_to=SUPPORT)
    assert activities.send_mail(order(incidents[0])) == HELD
    world.now += MAX_HOLD
    assert activities.send_mail(order(incidents[0], MAX_HOLD)).state == "sent"
