"""Alerts of one account: the first at once, later ones grouped in one mail, none withheld, none sent twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.in_session import in_session
from support.mail_rig import ADDRESS, START, RecordingMailer, alert, open_world, settings
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Mail
from octy_middleware.states import Answer, MailState, Resolution
from octy_worker.domain.incidents import answer_incident, close_incident
from octy_worker.mail.alert_grouping import GroupWait
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.mail.template_check import find_template_problems
from octy_workflows.messages import MailKind, SendMailInput, SendMailResult

LATER = SmtpResult(SmtpStatus.DEFERRED, "rcpt-450")
REFUSED = SmtpResult(SmtpStatus.REFUSED, "rcpt-550")
NEW_ADDRESS = "ada@new.example"
WINDOW = 300.0


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


@pytest.fixture
def moved(tmp_path, database_kind):
    for world in open_world(tmp_path, database_kind):
        world.move_to(NEW_ADDRESS)  # not the security address before 7 days are over
        yield world


def attack(world, number, **fields):
    """Open incidents on so many pairs of the account at the same moment; return id and public key of each."""
    found = []
    for _ in range(number):
        public_key = f"pk_attacked_{world.new_id()}"
        pair_id = world.pair(public_key)
        world_pair, world.pair_id = world.pair_id, pair_id
        found.append((world.incident(public_key=public_key, closed_at=None, **fields), public_key))
        world.pair_id = world_pair
    return found


def order(incident_id, waited=0.0):
    return SendMailInput(incident_id, MailKind.ALERT, 1, START, waited)


def named(envelope, world, attacked):
    """Return which of these incidents a mail names in both forms, each with its key and its own link."""
    return [
        incident_id
        for incident_id, public_key in attacked
        if all(
            public_key in body and world.links.alert_url(incident_id) in body
            for body in (envelope.rendered.text, envelope.rendered.html)
        )
    ]


def answer(world, incident_id):
    in_session(
        world.database, answer_incident, incident_id, Answer.IT_WAS_US, leaked=False, by="customer", now=world.now
    )


def test_four_incidents_in_a_row_send_one_alert_at_once_and_one_grouped_alert(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    [first] = attack(world, 1)
    assert activities.send_mail(order(first[0])) == SendMailResult("sent")
    world.now += 10
    later = attack(world, 3)
    reports = [activities.send_mail(order(incident_id)) for incident_id, _ in later]
    assert reports == [SendMailResult("delayed", "grouped", retry_after=WINDOW - 10)] * 3
    assert len(mailer.envelopes) == 1
    world.now += WINDOW - 10
    reports = [activities.send_mail(order(incident_id, WINDOW - 10)) for incident_id, _ in later]
    carrier = f"{later[0][0]}/alert/1"
    assert reports == [SendMailResult("sent"), *[SendMailResult("sent", f"in {carrier}")] * 2]
    assert [named(envelope, world, [first, *later]) for envelope in mailer.envelopes] == [
        [first[0]],
        [incident_id for incident_id, _ in later],
    ]
    assert mailer.envelopes[1].rendered.subject == "Octy security alert: failed attempts with 3 of your API keys"
    rows = [world.mail(f"{incident_id}/alert/1") for incident_id, _ in later]
    assert [(row.state, row.joined_mail, row.sent_at) for row in rows] == [
        (MailState.SENT, by, utc(world.now)) for by in ("", carrier, carrier)
    ]
    assert [activities.send_mail(order(incident_id)).state for incident_id, _ in later] == ["sent"] * 3
    assert len(mailer.envelopes) == 2


def test_incidents_already_open_are_grouped_into_the_first_alert(world):
    mailer, attacked = RecordingMailer(), attack(world, 4)
    with ThreadPoolExecutor(4) as pool:
        activities = world.activities(mailer)
        reports = list(pool.map(lambda each: _until_sent(activities, each[0]), attacked))
    assert reports == ["sent"] * 4
    [envelope] = mailer.envelopes
    assert len(named(envelope, world, attacked)) == 4


def _until_sent(activities, incident_id):
    for _ in range(200):
        try:
            return activities.send_mail(order(incident_id)).state
        except ApplicationError:
            continue
    return "never"


def test_reminders_and_notices_never_use_up_the_cap_of_alerts(world):
    activities = world.activities(RecordingMailer(), mail_daily_cap=1)
    earlier = world.incident()
    for number in range(1, 4):
        activities.send_mail(alert(earlier, number, MailKind.REMINDER))
    for number in range(2):  # what an attacker with the keys can do
        notice = world.move_to(f"thief-{number}@elsewhere.example")
        activities.send_mail(SendMailInput(notice, MailKind.CONTACT_CHANGED, 1, START))
        activities.send_mail(SendMailInput(world.exposure(), MailKind.EXPOSED, 1, START))
        world.now += 60
    [(incident_id, _)] = attack(world, 1)
    assert activities.send_mail(order(incident_id)) == SendMailResult("sent")


def test_forty_incidents_of_one_account_are_all_alerted_on_one_day(world):
    mailer, attacked = RecordingMailer(), []
    activities = world.activities(mailer)
    for _ in range(10):  # other mails have a cap of three a day
        attacked += attack(world, 4)
        for incident_id, _ in attacked[-4:]:
            while (report := activities.send_mail(order(incident_id))).state == "delayed":
                world.now += report.retry_after
            assert report.state == "sent"
    told = [incident_id for envelope in mailer.envelopes for incident_id in named(envelope, world, attacked)]
    assert sorted(told) == sorted(incident_id for incident_id, _ in attacked)


def test_answered_and_closed_incidents_are_not_grouped(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    [first, second, third, fourth] = attack(world, 4)
    answer(world, second[0])
    with world.database.write_session() as session:
        close_incident(session, third[0], Resolution.UNANSWERED, quiet=0, now=world.now)
    assert activities.send_mail(order(first[0])).state == "sent"
    assert named(mailer.envelopes[0], world, [first, second, third, fourth]) == [first[0], fourth[0]]
    assert [world.mail(f"{each[0]}/alert/1") for each in (second, third)] == [None, None]


def test_incident_answered_between_two_attempts_is_left_out_of_the_second(world):
    mailer = RecordingMailer(LATER, SmtpResult(SmtpStatus.ACCEPTED))
    activities = world.activities(mailer)
    [first, second, third] = attack(world, 3)
    with pytest.raises(ApplicationError):
        activities.send_mail(order(first[0]))
    answer(world, second[0])
    assert activities.send_mail(order(first[0])) == SendMailResult("sent")
    assert [len(named(envelope, world, [first, second, third])) for envelope in mailer.envelopes] == [3, 2]
    assert activities.send_mail(order(second[0])) == SendMailResult("skipped", "answered")
    assert len(mailer.envelopes) == 2
    row = world.mail(f"{second[0]}/alert/1")
    assert (row.state, row.last_error) == (MailState.SKIPPED, "answered")


class Crash(BaseException):
    """The process dies here."""


def test_grouped_alert_killed_between_smtp_and_commit_is_repeated_unchanged(world, monkeypatch):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    [first, second] = attack(world, 2)
    with monkeypatch.context() as patch:
        patch.setattr("octy_worker.activities.mail.complete", lambda *_, **__: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            activities.send_mail(order(first[0]))
    third = attack(world, 1)[0]  # must not join a mail whose Message-ID the server may know already
    assert activities.send_mail(order(third[0])).state == "delayed"
    with pytest.raises(ApplicationError, match=f"in {first[0]}/alert/1"):
        activities.send_mail(order(second[0]))
    assert activities.send_mail(order(first[0])) == SendMailResult("sent")
    one, two = mailer.envelopes
    assert (one.message_id, one.rendered) == (two.message_id, two.rendered)
    assert activities.send_mail(order(second[0])).state == "sent"
    world.now += WINDOW
    assert activities.send_mail(order(third[0], WINDOW)) == SendMailResult("sent")
    assert named(mailer.envelopes[2], world, [first, second, third]) == [third[0]]


@pytest.mark.parametrize(("answered", "after"), [(True, 61.0), (False, 661.0)])
def test_alert_is_sent_alone_when_the_grouped_mail_is_given_up(world, answered, after):
    mailer = RecordingMailer(LATER, SmtpResult(SmtpStatus.ACCEPTED))
    activities = world.activities(mailer)
    [first, second] = attack(world, 2)
    with pytest.raises(ApplicationError):
        activities.send_mail(order(first[0]))
    if answered:
        answer(world, first[0])  # its workflow stops trying
    world.now += after - 2
    with pytest.raises(ApplicationError, match="is not sent yet: in "):
        activities.send_mail(order(second[0]))
    world.now += 2
    assert activities.send_mail(order(second[0])) == SendMailResult("sent")
    assert named(mailer.envelopes[1], world, [first, second]) == [second[0]]
    assert world.mail(f"{second[0]}/alert/1").joined_mail == ""


def test_rejected_grouped_mail_fails_each_of_its_alerts(world):
    activities = world.activities(RecordingMailer(REFUSED))
    [first, second] = attack(world, 2)
    assert activities.send_mail(order(first[0])) == SendMailResult("failed", "rcpt-550")
    assert activities.send_mail(order(second[0])) == SendMailResult("failed", "rcpt-550")


def test_other_addresses_get_one_notice_beside_a_grouped_alert(moved):
    mailer = RecordingMailer(SmtpResult(SmtpStatus.ACCEPTED), LATER, SmtpResult(SmtpStatus.ACCEPTED))
    activities = moved.activities(mailer)
    attacked = attack(moved, 2)
    with pytest.raises(ApplicationError):
        activities.send_mail(order(attacked[0][0]))
    assert [activities.send_mail(order(incident_id)).state for incident_id, _ in attacked * 2] == ["sent"] * 4
    assert [envelope.recipient for envelope in mailer.envelopes] == [ADDRESS, NEW_ADDRESS, NEW_ADDRESS]
    assert [len(named(envelope, moved, attacked)) for envelope in mailer.envelopes] == [2, 0, 0]


def test_incidents_of_other_accounts_are_not_grouped(world):
    mailer = RecordingMailer()
    activities = world.activities(mailer)
    [first] = attack(world, 1)
    other = world.account_id

    world.account_id = world.add(
        Account(
            id=world.new_id(),
            reference="another",
            contact_email_address="bob@other.example",
            security_email="bob@other.example",
            created_at=utc(START),
        )
    )
    [second] = attack(world, 1)
    world.account_id = other
    assert activities.send_mail(order(second[0])) == SendMailResult("sent")
    assert activities.send_mail(order(first[0])) == SendMailResult("sent")
    assert [envelope.recipient for envelope in mailer.envelopes] == ["bob@other.example", ADDRESS]


def test_alert_join_window_of_zero_sends_each_alert_at_once(world):
    activities = world.activities(mailer := RecordingMailer(), alert_group_interval=0)
    for _ in range(3):
        [(incident_id, _)] = attack(world, 1)
        assert activities.send_mail(order(incident_id)) == SendMailResult("sent")
    assert len(mailer.envelopes) == 3


@pytest.mark.parametrize(
    ("last", "opened_at", "waited", "now", "wait"),
    [
        (None, 1000.0, 0.0, 1000.0, 0.0),
        (1000.0, 1010.0, 0.0, 1010.0, 290.0),
        (1000.0, 1010.0, 290.0, 1300.0, 0.0),
        (1000.0, 400.0, 0.0, 1000.0, 0.0),  # its incident is old: it waits no longer
        (9000.0, 9000.0, 0.0, 1000.0, 300.0),  # a clock was ahead
        (9000.0, 9000.0, 300.0, 1000.0, 0.0),  # and still is: the workflow's time counts
        (1000.0, 1000.0, 0.0, 9000.0, 0.0),
    ],
)
def test_alert_never_waits_longer_than_the_join_window_with_differing_clocks(last, opened_at, waited, now, wait):
    waiting = GroupWait(WINDOW, opened_at, waited)
    assert waiting.until_due(None if last is None else utc(last), now) == wait


def test_each_grouped_incident_has_one_mail_row(world):
    activities = world.activities(RecordingMailer())
    attacked = attack(world, 3)
    for incident_id, _ in attacked:
        activities.send_mail(order(incident_id))
    with world.database.read_session() as session:
        for incident_id, _ in attacked:
            assert session.get(Mail, f"{incident_id}/alert/1").incident_id == incident_id


def test_alert_template_that_omits_grouped_keys_is_rejected(tmp_path):
    parts = [tmp_path / "alert" / name for name in ("body.txt", "body.html")]
    parts[0].parent.mkdir()

    def problems(text: str) -> list[str]:
        for part in parts:
            part.write_text(text, "utf-8")
        return find_template_problems(MailRenderer(settings(mail_templates=str(tmp_path))), "https://keys.octy.example")

    found = problems("{{ facts.public_key }} {{ facts.url }}")
    assert len(found) == 2
    for part in parts:
        [fault] = [fault for fault in found if f"alert/{part.name}" in fault]
        assert "facts.others" in fault
    assert problems("{% for other in facts.others %}{{ other.public_key }} {{ other.url }}{% endfor %}") == []
