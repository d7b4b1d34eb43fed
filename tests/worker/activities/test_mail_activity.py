"""The activity `send_mail`: its row before sending, retries, the daily cap, and no addresses in logs."""

import dataclasses
import logging
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest
from support.mail_rig import (
    ADDRESS,
    DAY,
    PUBLIC_KEY,
    SECRET,
    SENT,
    START,
    RecordingMailer,
    World,
    alert,
    open_world,
    settings,
)
from support.smtp_servers import Authority, Inbox, Server, running
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.clock import utc
from octy_middleware.db.models import SealedSecret
from octy_middleware.domain.accounts import StaffChange
from octy_middleware.states import MailState
from octy_worker.activities.mail import MailActivities
from octy_worker.mail.mailer import SmtpMailer
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_workflows import activities as declared
from octy_workflows.messages import MailKind, SendMailInput, SendMailResult

LATER = SmtpResult(SmtpStatus.DEFERRED, "rcpt-450")
OLD_ADDRESS = "ada@old.example"
NEW_ADDRESS = "new@elsewhere.example"
WITHOUT_KEY = (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT, MailKind.WEBHOOK_CHANGED)
ORDERED = sorted(set(MailKind) - {MailKind.ACCOUNT_NOTICE})  # that one goes beside others


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


@pytest.fixture
def moved(tmp_path, database_kind):
    """The contact address was changed ten days ago: the new one counts, the old one gets copies of alerts."""
    settled = {
        "contact_changed_at": utc(START) - timedelta(days=10),
        "contact_takes_effect_at": utc(START) - timedelta(days=3),
    }
    yield from open_world(tmp_path, database_kind, security_email=OLD_ADDRESS, **settled)


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    authority, inbox = Authority(tmp_path_factory.mktemp("ca")), Inbox()
    with running(Server(inbox, tls_context=authority.serving())) as server:
        server.authority = authority
        yield server


def smtp(relay):
    relay.handler.clear()
    return SmtpMailer(
        settings(smtp_host="localhost", smtp_port=relay.port, smtp_ca_file=str(relay.authority.file), smtp_timeout=5)
    )


def test_send_mail_has_the_declared_name(world):
    incident = world.incident()
    run = ActivityEnvironment().run
    assert run(world.activities(RecordingMailer()).send_mail, alert(incident)) == SendMailResult("sent")
    name = vars(MailActivities.send_mail)["__temporal_activity_definition"].name
    assert name == vars(declared.send_mail)["__temporal_activity_definition"].name


@pytest.mark.parametrize("kind", ORDERED)
def test_send_mail_sends_each_kind_over_smtp(world, relay, kind):
    activities = world.activities(smtp(relay))
    subject = world.subject(kind)
    order = SendMailInput(subject, kind, 1, START)
    assert activities.send_mail(order) == SendMailResult("sent")
    (mail,) = relay.handler.sent
    to = NEW_ADDRESS if kind is MailKind.NEW_CONTACT else ADDRESS
    assert mail.recipients == [to]
    assert mail.message["To"] == to
    message_id = mail.message["Message-ID"].strip()  # a long one stands on a line of its own
    assert message_id == f"<{subject}.{kind}.1@octy.example>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert (PUBLIC_KEY in mail.part("plain")) is (kind not in WITHOUT_KEY)
    inside = kind is MailKind.NEW_KEYS_INSIDE
    assert [SECRET in mail.part(form) for form in ("plain", "html")] == [inside, inside]
    row = world.mail(f"{subject}/{kind}/1")
    assert (row.state, row.delivery_attempts, row.last_error, row.sent_at) == (MailState.SENT, 1, "", utc(START))
    assert row.message_id == message_id


def test_mail_row_is_committed_before_the_mail_is_sent(world):
    incident = world.incident()
    seen = []

    class Looking(RecordingMailer):
        def send(self, envelope):
            seen.append(world.mail(f"{incident}/alert/1").state)
            return super().send(envelope)

    world.activities(Looking()).send_mail(alert(incident))
    assert seen == [MailState.PENDING]
    assert world.mail(f"{incident}/alert/1").incident_id == incident


class LockingMailer(RecordingMailer):
    """Has another writer hold the database's lock from the mail on, for so many attempts to record it."""

    def __init__(self, world, attempts):
        super().__init__()
        self._other, self._attempts, self._lock = Database(world.url), attempts, ExitStack()

    def send(self, envelope):
        self._lock.enter_context(self._other.write())
        return super().send(envelope)

    def sleep(self, _seconds):
        self._attempts -= 1
        if self._attempts == 0:
            self.close()

    def close(self):
        self._lock.close()
        self._other.close()


@pytest.mark.parametrize("attempts", [1, 2])
def test_mail_whose_record_waits_for_a_lock_is_sent_once(world, attempts):
    """With a lock timeout in the recording transaction, the activity failed and its retry sent the mail again."""
    incident, mailer, hasty = world.incident(), LockingMailer(world, attempts), Database(world.url, busy_timeout=0.1)
    activities = world.activities(mailer, database=hasty, sleep=mailer.sleep)
    assert activities.send_mail(alert(incident)) == SendMailResult("sent")
    assert activities.send_mail(alert(incident)) == SendMailResult("sent")
    assert len(mailer.envelopes) == 1
    assert world.mail(f"{incident}/alert/1").state == MailState.SENT
    hasty.close()


def test_mail_that_cannot_be_recorded_raises_and_is_sent_again_with_the_same_message_id(world):
    incident, mailer, hasty = world.incident(), LockingMailer(world, 3), Database(world.url, busy_timeout=0.1)
    activities = world.activities(mailer, database=hasty, sleep=mailer.sleep)
    with pytest.raises(DatabaseUnavailableError):
        activities.send_mail(alert(incident))
    mailer.close()
    again = RecordingMailer()
    assert world.activities(again).send_mail(alert(incident)) == SendMailResult("sent")
    assert [mail.message_id for mail in again.envelopes] == [mail.message_id for mail in mailer.envelopes]
    hasty.close()


def test_deferred_mail_that_cannot_be_recorded_raises(world):
    incident, mailer, hasty = world.incident(), LockingMailer(world, 1), Database(world.url, busy_timeout=0.1)
    mailer.answers = [LATER]
    with pytest.raises(DatabaseUnavailableError):
        world.activities(mailer, database=hasty, sleep=mailer.sleep).send_mail(alert(incident))
    mailer.close()
    assert world.mail(f"{incident}/alert/1").state == MailState.PENDING
    hasty.close()


def test_failure_of_a_slower_attempt_leaves_the_mail_sent(world):
    """A retry may begin while an attempt that timed out still runs."""
    incident = world.incident()

    class Slow(RecordingMailer):
        def send(self, envelope):
            assert world.activities(RecordingMailer()).send_mail(alert(incident)) == SendMailResult("sent")
            return super().send(envelope)

    with pytest.raises(ApplicationError, match="rcpt-450"):
        world.activities(Slow(LATER)).send_mail(alert(incident))
    row = world.mail(f"{incident}/alert/1")
    assert (row.state, row.last_error) == (MailState.SENT, "")


def test_mail_rows_of_new_keys_have_their_incident_id(world):
    regeneration = world.regeneration()
    incident = world.incident(regeneration_id=regeneration)
    world.activities(RecordingMailer()).send_mail(SendMailInput(regeneration, MailKind.NEW_KEYS, 1, START))
    assert world.mail(f"{regeneration}/new_keys/1").incident_id == incident


def test_repeated_send_mail_sends_one_mail(world, relay):
    incident, activities = world.incident(), world.activities(smtp(relay))
    assert [activities.send_mail(alert(incident)) for _ in range(3)] == [SendMailResult("sent")] * 3
    assert len(relay.handler.sent) == 1
    assert activities.send_mail(alert(incident, 1, MailKind.REMINDER)) == SendMailResult("sent")
    assert activities.send_mail(alert(incident, 2, MailKind.REMINDER)) == SendMailResult("sent")
    assert len({mail.message["Message-ID"] for mail in relay.handler.sent}) == 3


class Crash(BaseException):
    """The process dies here."""


def test_crash_between_smtp_and_commit_repeats_the_same_message(world, monkeypatch):
    incident, mailer = world.incident(), RecordingMailer()
    with monkeypatch.context() as patch:
        patch.setattr("octy_worker.activities.mail.complete", lambda *_, **__: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            world.activities(mailer).send_mail(alert(incident))
    assert world.mail(f"{incident}/alert/1").state == MailState.PENDING
    world.now += 30
    assert world.activities(mailer).send_mail(alert(incident)) == SendMailResult("sent")
    first, second = mailer.envelopes
    assert first.message_id == second.message_id
    assert first.rendered == second.rendered
    assert world.mail(f"{incident}/alert/1").delivery_attempts == 2


def test_transient_smtp_error_raises_until_it_is_over(world):
    incident = world.incident()
    activities = world.activities(
        RecordingMailer(LATER, LATER, SENT), mail_daily_cap=1
    )  # its own row takes no place from it
    for attempts in (1, 2):
        with pytest.raises(ApplicationError) as caught:
            activities.send_mail(alert(incident))
        assert (caught.value.type, caught.value.non_retryable) == ("MailTransient", False)
        row = world.mail(f"{incident}/alert/1")
        assert (row.state, row.delivery_attempts, row.last_error) == (MailState.PENDING, attempts, "rcpt-450")
        assert row.sent_at is None
    assert activities.send_mail(alert(incident)) == SendMailResult("sent")
    assert world.mail(f"{incident}/alert/1").last_error == ""


def test_permanent_smtp_rejection_is_final(world):
    incident, mailer = world.incident(), RecordingMailer(SmtpResult(SmtpStatus.REFUSED, "rcpt-550"))
    activities = world.activities(mailer)
    assert [activities.send_mail(alert(incident)) for _ in range(2)] == [SendMailResult("failed", "rcpt-550")] * 2
    assert len(mailer.envelopes) == 1
    assert world.mail(f"{incident}/alert/1").state == MailState.FAILED


def test_invalid_address_is_never_sent_to(tmp_path, database_kind):
    address = "ada@customer.example\r\nBcc: eve@evil.example"
    world = World(tmp_path, database_kind, security_email=address, contact_email_address=address)
    incident, mailer = world.incident(), RecordingMailer()
    assert world.activities(mailer).send_mail(alert(incident)) == SendMailResult("failed", "invalid-address")
    assert mailer.envelopes == []
    world.close()


@pytest.mark.parametrize("kind", list(MailKind))
def test_mail_with_a_missing_subject_is_retried(world, kind):
    with pytest.raises(ApplicationError, match="in this worker's database") as caught:
        world.activities(RecordingMailer()).send_mail(SendMailInput(world.new_id(), kind, 1, START))
    assert not caught.value.non_retryable


@pytest.mark.parametrize(
    "kind", [MailKind.NEW_KEYS, MailKind.NEW_KEYS_INSIDE, MailKind.STILL_USED, MailKind.KEYS_RETIRED]
)
def test_mail_about_keys_is_not_sent_without_the_rows_that_it_is_about(world, kind):
    regeneration = world.regeneration()
    with world.database.write_session() as session:
        session.delete(session.get_one(SealedSecret, regeneration))
    order = SendMailInput(regeneration, kind, 1, START)
    assert world.activities(RecordingMailer()).send_mail(order) == SendMailResult("failed", "unknown-subject")


def reminder(incident_id, number=1):
    return alert(incident_id, number, MailKind.REMINDER)


def test_daily_cap_counts_reminders_and_notices_only(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    first, second = world.incident(), world.incident()
    assert activities.send_mail(alert(first)).state == "sent"
    assert activities.send_mail(reminder(first, 1)).state == "sent"
    world.now += 3600
    assert activities.send_mail(reminder(first, 2)).state == "sent"
    assert activities.send_mail(reminder(second, 1)).state == "sent"
    assert activities.send_mail(reminder(second, 2)) == SendMailResult("skipped", "daily-cap")
    assert activities.send_mail(reminder(second, 2)) == SendMailResult("skipped", "daily-cap")
    row = world.mail(f"{second}/reminder/2")
    assert (row.state, row.delivery_attempts) == (MailState.SKIPPED, 0)
    assert activities.send_mail(SendMailInput(world.regeneration(), MailKind.NEW_KEYS, 1, START)).state == "sent"
    assert activities.send_mail(alert(second)).state == "sent"
    assert activities.send_mail(alert(first, 2)).state == "sent"  # one that staff sends again
    world.now = START + DAY + 1  # the first one is a day old
    assert activities.send_mail(reminder(second, 2)) == SendMailResult("sent")
    assert activities.send_mail(reminder(world.incident())).state == "skipped"
    assert world.mail(f"{second}/reminder/2").created_at == utc(world.now)


@pytest.mark.parametrize(
    ("temporal", "dated"), [(START - DAY, START - DAY + 60), (START - 30, START), (START + DAY, START)]
)
def test_mail_date_is_not_in_the_future_with_a_fast_worker_clock(world, temporal, dated):
    mailer, environment = RecordingMailer(), ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, started_time=utc(temporal))
    assert environment.run(world.activities(mailer).send_mail, alert(world.incident())).state == "sent"
    assert [envelope.at for envelope in mailer.envelopes] == [dated]


def test_links_go_to_the_security_address_only_and_other_addresses_of_14_days_get_a_notice(world):
    for address in ("second@customer.example", "thief@evil.example"):
        world.move_to(address)
        world.now += DAY
    incident, mailer = world.incident(), RecordingMailer()
    orders = [
        (alert(incident), world.links.alert_url(incident)),
        (SendMailInput(exposed := world.exposure(), MailKind.EXPOSED, 1, START), world.links.notice_url(exposed)),
        (SendMailInput(hook := world.new_webhook(), MailKind.WEBHOOK_CHANGED, 1, START), world.links.notice_url(hook)),
    ]
    for order, link in orders:
        mailer.envelopes.clear()
        assert world.activities(mailer).send_mail(order) == SendMailResult("sent")
        told = [envelope.recipient for envelope in mailer.envelopes]
        assert told == [ADDRESS, "thief@evil.example", "second@customer.example"]
        first, *others = [envelope.rendered for envelope in mailer.envelopes]
        assert link in first.text
        assert link in first.html
        for rendered in others:
            for form in (rendered.text, rendered.html):
                assert "security address" in form
                for absent in (link, "http", PUBLIC_KEY, "Ada", ADDRESS, "evil", "203.0.113"):
                    assert absent not in form.replace("http-equiv", "")


def test_notice_beside_an_alert_is_correct_after_a_contact_change_by_staff(world):
    world.move_to(NEW_ADDRESS, staff=StaffChange("ada", "ticket 4711"))
    world.now += DAY
    mailer = RecordingMailer()
    assert world.activities(mailer).send_mail(alert(world.incident())) == SendMailResult("sent")
    [first, notice] = mailer.envelopes
    assert (first.recipient, notice.recipient) == (NEW_ADDRESS, ADDRESS)
    for form in (notice.rendered.text, notice.rendered.html):
        assert "has been set for 7 days, or for 24 hours if support staff set it" in " ".join(form.split())


def test_contact_change_by_an_attacker_is_mailed_to_the_security_address(world):
    world.move_to("owner@customer.example")
    world.now += 3 * DAY
    notice, mailer = world.move_to("thief@evil.example"), RecordingMailer()
    for kind in (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT):
        assert world.activities(mailer).send_mail(SendMailInput(notice, kind, 1, START)) == SendMailResult("sent")
    told = [(sent.recipient, world.links.notice_url(notice) in sent.rendered.text) for sent in mailer.envelopes]
    assert told == [(ADDRESS, True), ("owner@customer.example", False), ("thief@evil.example", False)]


def test_notices_count_under_the_cap_and_new_addresses_get_no_more(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    for number in range(10):  # somebody who has the keys changes the address again and again
        notice = world.move_to(f"victim-{number}@elsewhere.example")
        told = activities.send_mail(SendMailInput(notice, MailKind.CONTACT_CHANGED, 1, START))
        if told.state == "sent":
            activities.send_mail(SendMailInput(notice, MailKind.NEW_CONTACT, 1, START))
        world.now += 60
    sent = [envelope.recipient for envelope in mailer.envelopes]
    assert sent == [ADDRESS, "victim-0@elsewhere.example", ADDRESS, "victim-0@elsewhere.example"]
    assert activities.send_mail(reminder(world.incident())) == SendMailResult("skipped", "daily-cap")
    assert activities.send_mail(SendMailInput(world.exposure(), MailKind.EXPOSED, 1, START)).state == "skipped"


def test_many_contact_changes_are_one_mail_on_the_next_day(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer, mail_daily_cap=1)
    activities.send_mail(reminder(world.incident()))
    notices = []
    for number in range(5):
        world.now += 60
        notices.append(world.move_to(f"victim-{number}@elsewhere.example"))
        order = SendMailInput(notices[-1], MailKind.CONTACT_CHANGED, 1, START)
        assert activities.send_mail(order) == SendMailResult("skipped", "daily-cap")
    world.now += DAY
    reports = [
        activities.send_mail(SendMailInput(notice, kind, 1, START))
        for notice in notices
        for kind in (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT)
    ]
    assert reports == [SendMailResult("skipped", "obsolete")] * 8 + [
        SendMailResult("sent"),
        SendMailResult("skipped", "daily-cap"),
    ]
    row = world.mail(f"{notices[0]}/contact_changed/1")
    assert (row.state, row.last_error, row.delivery_attempts, row.sent_at) == (MailState.SKIPPED, "obsolete", 0, None)
    [*_, last] = [envelope for envelope in mailer.envelopes if envelope.recipient == ADDRESS]
    assert "victim-4" in last.rendered.text


def test_reverted_contact_change_is_mailed_to_nobody(world):
    notice, mailer = world.move_to(NEW_ADDRESS), RecordingMailer()
    world.now += 60
    world.move_to(ADDRESS)
    for kind in (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT):
        assert world.activities(mailer).send_mail(SendMailInput(notice, kind, 1, START)) == SendMailResult(
            "skipped", "obsolete"
        )
    assert mailer.envelopes == []


def test_sent_mail_stays_sent_when_it_becomes_obsolete(world):
    notice, activities = world.move_to(NEW_ADDRESS), world.activities(RecordingMailer())
    order = SendMailInput(notice, MailKind.CONTACT_CHANGED, 1, START)
    assert activities.send_mail(order) == SendMailResult("sent")
    world.now += 60
    world.move_to("third@elsewhere.example")
    assert activities.send_mail(order) == SendMailResult("sent")
    assert world.mail(f"{notice}/contact_changed/1").sent_at == utc(START)


def test_late_contact_notice_goes_to_the_old_address_and_never_links_to_the_new_one(world):
    notice, mailer = world.move_to(NEW_ADDRESS), RecordingMailer()
    world.now += 8 * DAY  # the mail server was away; by now security mails go to the new address
    activities = world.activities(mailer)
    for kind in (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT):
        assert activities.send_mail(SendMailInput(notice, kind, 1, START)) == SendMailResult("sent")
    told = [(sent.recipient, world.links.notice_url(notice) in sent.rendered.text) for sent in mailer.envelopes]
    assert told == [(ADDRESS, True), (NEW_ADDRESS, False)]


def test_exposed_mail_goes_to_the_alert_addresses_unless_the_key_pair_has_ended(moved):
    mailer = RecordingMailer()
    activities = moved.activities(mailer)
    notice = moved.exposure()
    assert activities.send_mail(SendMailInput(notice, MailKind.EXPOSED, 1, START)) == SendMailResult("sent")
    assert [envelope.recipient for envelope in mailer.envelopes] == [ADDRESS, OLD_ADDRESS]
    late = moved.exposure()
    moved.retire_old_key_pair()
    assert activities.send_mail(SendMailInput(late, MailKind.EXPOSED, 1, START)) == SendMailResult(
        "skipped", "obsolete"
    )
    assert len(mailer.envelopes) == 2


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (MailKind.EXPOSED, MailKind.CONTACT_CHANGED),
        (MailKind.EXPOSED, MailKind.NEW_CONTACT),
        (MailKind.CONTACT_CHANGED, MailKind.EXPOSED),
    ],
)
def test_notice_mail_has_facts_of_its_own_subject_only(world, given, kind):
    order = SendMailInput(world.subject(given), kind, 1, START)
    assert world.activities(RecordingMailer()).send_mail(order) == SendMailResult("failed", "unknown-subject")


def test_deferred_mail_counts_under_the_cap_for_a_day(world):
    waiting, mailer = world.incident(), RecordingMailer(LATER, SENT)
    activities = world.activities(mailer, mail_daily_cap=1)
    with pytest.raises(ApplicationError):
        activities.send_mail(reminder(waiting))
    assert activities.send_mail(reminder(world.incident())).state == "skipped"
    world.now += DAY + 1
    assert activities.send_mail(reminder(world.incident())).state == "sent"
    assert activities.send_mail(reminder(waiting)).state == "skipped"
    world.now += DAY + 1
    assert activities.send_mail(reminder(waiting)).state == "sent"


def test_rejected_mails_do_not_count_under_the_cap(world):
    activities = world.activities(RecordingMailer(SmtpResult(SmtpStatus.REFUSED, "rcpt-550"), SENT), mail_daily_cap=1)
    assert activities.send_mail(reminder(world.incident())).state == "failed"
    assert activities.send_mail(reminder(world.incident())).state == "sent"


def test_concurrent_mails_do_not_exceed_the_cap(world):
    incidents = [world.incident() for _ in range(12)]
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    with ThreadPoolExecutor(6) as pool:
        reports = list(pool.map(activities.send_mail, map(reminder, incidents)))
    assert sorted(report.state for report in reports) == ["sent"] * 3 + ["skipped"] * 9
    assert len(mailer.envelopes) == 3


def test_alert_after_a_contact_change_goes_to_both_addresses(moved, relay):
    activities = moved.activities(smtp(relay), mail_daily_cap=1)
    incident = moved.incident()
    assert activities.send_mail(alert(incident)) == SendMailResult("sent")
    assert [mail.recipients for mail in relay.handler.sent] == [[ADDRESS], [OLD_ADDRESS]]
    assert [mail.message["To"] for mail in relay.handler.sent] == [ADDRESS, OLD_ADDRESS]
    assert [mail.message["Message-ID"] for mail in relay.handler.sent] == [
        f"<{incident}.alert.1@octy.example>",
        f"<{incident}.alert.1.copy-2@octy.example>",
    ]
    assert moved.mail(f"{incident}/alert/1/copy-2").state == MailState.SENT
    assert activities.send_mail(reminder(incident, 1)).state == "sent"
    assert activities.send_mail(reminder(incident, 2)).state == "skipped"
    assert moved.mail(f"{incident}/reminder/2/copy-2") is None


def test_copies_do_not_count_under_the_cap(moved):
    activities = moved.activities(RecordingMailer(), mail_daily_cap=2)
    reports = [activities.send_mail(reminder(moved.incident())).state for _ in range(3)]
    assert reports == ["sent", "sent", "skipped"]


def test_new_keys_mail_goes_to_the_first_address_only(moved):
    mailer = RecordingMailer()
    moved.activities(mailer).send_mail(SendMailInput(moved.regeneration(), MailKind.NEW_KEYS, 1, START))
    assert [envelope.recipient for envelope in mailer.envelopes] == [ADDRESS]


@pytest.mark.parametrize("delayed", [0, 1])
def test_retry_sends_only_the_missing_copy(moved, delayed):
    mailer = RecordingMailer(*([LATER, SENT, SENT] if delayed == 0 else [SENT, LATER, SENT]))
    activities, incident = moved.activities(mailer), moved.incident()
    with pytest.raises(ApplicationError):
        activities.send_mail(alert(incident))
    assert activities.send_mail(alert(incident)) == SendMailResult("sent")
    addresses = [ADDRESS, OLD_ADDRESS]
    assert [envelope.recipient for envelope in mailer.envelopes] == [*addresses, addresses[delayed]]


def test_send_mail_result_is_that_of_the_first_address(moved):
    refused = SmtpResult(SmtpStatus.REFUSED, "rcpt-550")
    first, second = moved.incident(), moved.incident()
    told = moved.activities(RecordingMailer(SENT, refused, refused, SENT), alert_group_interval=0)
    assert told.send_mail(alert(first)) == SendMailResult("sent", "a copy failed: rcpt-550")
    assert told.send_mail(alert(second)) == SendMailResult("failed", "rcpt-550")


@pytest.mark.parametrize("reply", ["250 ok", "450 4.2.1 <ada@customer.example> later", "550 <ada@customer.example> no"])
def test_send_mail_logs_and_errors_have_no_address_link_or_secret(world, relay, caplog, reply):
    caplog.set_level(logging.DEBUG)
    mailer = smtp(relay)
    relay.handler.replies = {} if reply.startswith("250") else {"RCPT": reply}
    regeneration, incident = world.regeneration(), world.incident()
    said = []
    notice = world.move_to(NEW_ADDRESS)
    orders = [SendMailInput(notice, kind, 1, START) for kind in (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT)]
    for order in (alert(incident), SendMailInput(regeneration, MailKind.NEW_KEYS, 1, START), *orders):
        try:
            said.append(repr(world.activities(mailer).send_mail(order)))
        except ApplicationError as error:
            said.append("".join(traceback.format_exception(error)))
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]
    assert any(record.name == "octy.mail" for record in caplog.records)
    rows = [repr(world.mail(f"{incident}/alert/1")), repr(world.mail(f"{regeneration}/new_keys/1"))]
    for secret in (
        "@customer",
        "@elsewhere",
        "https://",
        "keys.octy.example",
        world.links.alert_url(incident)[-32:],
        SECRET,
    ):
        assert secret not in "\n".join([*said, *ours, *rows])


@pytest.mark.parametrize(("ours", "level"), [(True, "ERROR"), (False, "WARNING")])
def test_mail_configuration_error_is_logged_as_an_error(world, caplog, ours, level):
    activities = world.activities(RecordingMailer(SmtpResult(SmtpStatus.DEFERRED, "auth-535", ours)))
    with pytest.raises(ApplicationError, match="auth-535"):
        activities.send_mail(alert(world.incident()))
    (record,) = [record for record in caplog.records if record.name == "octy.mail"]
    assert record.levelname == level
    assert ("OCTY_SMTP_" in record.getMessage()) is ours
