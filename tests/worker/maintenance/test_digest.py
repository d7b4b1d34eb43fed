"""The daily digest: open tasks, once a day, with ids and commands and no customer data."""

from html import unescape

import pytest
from support.cli_rig import open_incident
from support.in_session import in_session
from support.mail_rig import RecordingMailer
from support.relay_rig import change, put
from support.world import INSTALLATION, World

from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import Answer
from octy_worker.audit import repository as audit
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.checkpoints import public_keys, read_checkpoints
from octy_worker.domain.incidents import answer_incident, append_event
from octy_worker.domain.job_lease import JobLease
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.maintenance import digest
from octy_worker.maintenance.digest import DigestResult, DigestSender, gather

DAY = 86_400.0
NOW = 1_900_000_800.0  # 2030-03-17, 18:00 UTC
SENT = SmtpResult(SmtpStatus.ACCEPTED)


@pytest.fixture
def settings(world: World):
    return world.worker_settings(support_digest_to="support@octy.example", mail_from="Octy <security@octy.example>")


def post(world: World, settings, told: RecordingMailer, now: float = NOW) -> DigestResult:
    return DigestSender(world.database, told, MailRenderer(settings), settings, lambda: now).send(now)


def busy(world: World) -> dict[str, str]:
    """Create one of each open task; return the ids."""
    keys, incident = open_incident(world, at=NOW - DAY)
    change(world, "UPDATE incident SET state = 'needs_staff'")
    _, overdue = open_incident(world, "slow", at=NOW - 20 * DAY)
    change(world, "UPDATE regeneration SET state = 'done', finished_at = 1")
    world_ids = {"incident": incident, "overdue": overdue, "account": keys.account_id}
    change(
        world,
        "INSERT INTO regeneration (id, account_id, cause, actor, reason, leaked, state, opened_at) "
        "VALUES ('r-waits', ?, 'staff', 'dan', '', ?, 'sent', ?)",
        *(keys.account_id, False, int((NOW - 2 * DAY) * 1e6)),
    )
    for key, state in (("x/alert/1", "failed"), ("y/alert/1", "pending")):
        change(
            world,
            "INSERT INTO mail (key, account_id, kind, message_id, state, delivery_attempts, last_error, created_at) "
            "VALUES (?, ?, 'alert', ?, ?, 1, 'rcpt-550', ?)",
            *(key, keys.account_id, f"<{key}>", state, int((NOW - 7200) * 1e6)),
        )
    change(
        world,
        "INSERT INTO mail (key, account_id, kind, message_id, state, delivery_attempts, last_error, created_at) "
        "VALUES ('z/exposed/1', ?, 'exposed', '<z>', 'skipped', 0, 'daily-cap', ?)",
        *(keys.account_id, int((NOW - 7200) * 1e6)),
    )
    number = put(world, "incident_grew", incident, failures=40)
    change(world, "UPDATE outbox SET delivery_attempts = 5 WHERE id = ?", number)
    return world_ids


def test_digest_lists_open_tasks_once_a_day_without_customer_data(world: World, settings) -> None:
    ids, told = busy(world), RecordingMailer()
    assert post(world, settings, told) == DigestResult("sent")
    assert post(world, settings, told, NOW + 3600) == DigestResult("sent")  # found, not sent
    [envelope] = told.envelopes
    assert envelope.recipient == "support@octy.example"
    assert envelope.message_id == "<digest.2030-03-17@octy.example>"
    rendered = envelope.rendered
    assert rendered.subject == "Octy support, 2030-03-17: 9 open tasks"
    for body in (rendered.text, rendered.html):
        said = " ".join(body.split())
        for part in (f"octy incidents show {ids['incident']}", ids["overdue"], "r-waits", "x/alert/1"):
            assert part in said
        assert "1 mail not delivered for over an hour" in said
        assert "octy outbox list --dead-letters" in said
        assert "Reminders and notices over the daily cap" in said
        assert "z/exposed/1" in said
        assert "2 alerts to customers not sent" in said
        for secret in ("acme", "slow", "pk_", "rcpt-550", "203.0.113.9", ids["account"]):
            assert secret not in said
    assert max(map(len, rendered.text.splitlines())) < 90
    assert post(world, settings, told, NOW + DAY) == DigestResult("sent")
    assert len({one.message_id for one in told.envelopes}) == 2


def test_digest_holds_a_checkpoint_each_day_also_without_tasks(world: World, settings) -> None:
    """Read back from the mail as a person copies it: the line is whole."""
    keys, told, logged = Keychain({"k1": b"1" * 32}), RecordingMailer(), []
    with world.database.write_session() as session:
        last = audit.append(session, "keys.revoke", actor="ada")
    for day in (0, 1):
        now = NOW + day * DAY
        checkpoints = CheckpointWriter(world.database, keys, INSTALLATION, lambda now=now: now, write=logged.append)
        sender = DigestSender(
            world.database, told, MailRenderer(settings), settings, lambda now=now: now, checkpoints=checkpoints
        )
        assert sender.send(now) == DigestResult("sent")
        assert sender.send(now) == DigestResult("sent")  # found, not sent
    mailed = [line for envelope in told.envelopes for line in envelope.rendered.text.splitlines()]
    found = read_checkpoints(mailed, public_keys(keys), installation=INSTALLATION)
    assert [(one.number, one.seq, one.hash) for one in found] == [(1, last.seq, last.hash), (2, last.seq, last.hash)]
    assert all(line in mailed for line in logged)
    assert all(line in unescape(envelope.rendered.html) for line, envelope in zip(logged, told.envelopes, strict=True))


def test_digest_counts_the_previous_utc_day(world: World, settings) -> None:
    open_incident(world, at=NOW - DAY)
    open_incident(world, "early", at=NOW - 2 * DAY)
    open_incident(world, "today", at=NOW - 3600)
    change(world, "UPDATE regeneration SET opened_at = ?", int((NOW - DAY) * 1e6))
    change(world, "UPDATE incident SET closed_at = ?, state = 'closed'", int((NOW - DAY) * 1e6))
    found = gather(world.database, settings, "2030-03-17", NOW).yesterday
    assert (found.opened, found.closed, found.issued, found.mails) == (1, 3, 3, 0)


def overdue(world: World, settings, now: float) -> list[str]:
    return [name for name, _ in gather(world.database, settings, "2030-03-17", now).tasks.overdue.lines]


def test_extended_incident_is_overdue_after_its_extension(world: World, settings) -> None:
    _, incident_id = open_incident(world, at=NOW - 20 * DAY)
    assert overdue(world, settings, NOW) == [incident_id]
    for number, days in ((1, -1), (2, 5)):
        end = {"days": 1, "staff_at": int(NOW), "ends_at": int(NOW + days * DAY)}
        with world.database.write_session() as session:
            append_event(
                session, incident_id, key=f"e{number}", actor="eve", what="extended", detail=end, now=NOW - DAY
            )
    assert overdue(world, settings, NOW) == []
    assert overdue(world, settings, NOW + 5 * DAY + 7200) == [incident_id]


def test_answered_incident_is_overdue_after_the_time_of_its_new_keys(world: World, settings) -> None:
    _, incident_id = open_incident(world, at=NOW - 20 * DAY)
    in_session(
        world.database, answer_incident, incident_id, Answer.NOT_US, leaked=False, by="customer", now=NOW - 7 * DAY
    )
    assert overdue(world, settings, NOW) == []
    assert overdue(world, settings, NOW + 10 * DAY) == [incident_id]


def test_digest_list_is_limited_and_the_rest_counted(world: World, settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "MAX_LINES", 2)
    for number in range(4):
        open_incident(world, f"acme{number}", at=NOW - DAY)
    change(world, "UPDATE incident SET state = 'needs_staff'")
    listed = gather(world.database, settings, "2030-03-17", NOW).tasks.needs_staff
    assert (len(listed.lines), listed.more, listed.count) == (2, 2, 4)
    assert [name for name, _ in listed.lines] == sorted(name for name, _ in listed.lines)


def test_digest_without_open_tasks_sends_no_mail(world: World, settings) -> None:
    told = RecordingMailer()
    assert post(world, settings, told) == DigestResult("nothing")
    busy(world)
    assert post(world, settings, told, NOW + 3600) == DigestResult("nothing")  # the day is done
    assert told.envelopes == []


@pytest.mark.parametrize(
    ("delivery", "first", "again"),
    [
        (SmtpResult(SmtpStatus.DEFERRED, "connect"), DigestResult("waits", "connect"), DigestResult("sent")),
        (SmtpResult(SmtpStatus.REFUSED, "rcpt-550"), DigestResult("failed", "rcpt-550"), DigestResult("failed")),
    ],
)
def test_deferred_digest_is_retried_and_a_rejected_one_is_final(
    world: World, settings, delivery: SmtpResult, first: DigestResult, again: DigestResult
) -> None:
    busy(world)
    told = RecordingMailer(delivery, SENT)
    assert post(world, settings, told) == first
    assert post(world, settings, told, NOW + 60) == again
    assert len({one.message_id for one in told.envelopes}) == 1
    assert world.rows("SELECT holder FROM job WHERE name = 'digest'") == [("",)]


def test_two_workers_send_one_digest(world: World, settings) -> None:
    busy(world)
    JobLease(world.database, "digest", lambda: NOW).take()
    told = RecordingMailer()
    assert post(world, settings, told) == DigestResult("held")
    assert told.envelopes == []
