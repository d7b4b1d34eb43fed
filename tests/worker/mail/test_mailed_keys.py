"""`OCTY_DELIVER=mail`: the mail contains the secret, its acceptance is the collection; nothing else has the secret."""

import asyncio
import logging
import os
import re
import time
import traceback
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import NoResultFound
from sqlmodel import Session, select
from support.mail_rig import PUBLIC_KEY, SECRET, SENT, START, RecordingMailer, open_world
from support.relay_rig import stop
from support.smtp_servers import Authority, Inbox, Server, running
from support.temporal import Temporal, open_temporal
from support.until import until_async
from support.world import INSTALLATION, FakeRequest, World, basic
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import utc
from octy_middleware.db.models import KeyPair, Outbox, OutcomeMinute, Regeneration, SealedSecret
from octy_middleware.errors import ConfigurationError
from octy_middleware.http.credentials import Secret
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import KeyPairState, MailState, RegenerationState
from octy_worker import daemon
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain import regenerations
from octy_worker.mail.facts import load_draft
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.outbox.relay import Relay
from octy_worker.settings import WorkerSettings
from octy_worker.staff.key_orders import regenerate
from octy_worker.staff.registration import register
from octy_worker.temporal.search_attributes import add_missing_attributes
from octy_workflows.messages import DeliveryMethod, MailKind, SendMailInput, SendMailResult, regeneration_workflow_id

REFUSED = SmtpResult(SmtpStatus.REFUSED, "rcpt-550")
LATER = SmtpResult(SmtpStatus.DEFERRED, "rcpt-450")


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def mail_world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


@pytest.fixture
def sqlite_mail_world(tmp_path):
    yield from open_world(tmp_path, "sqlite")


def order(regeneration_id, number=1):
    return SendMailInput(regeneration_id, MailKind.NEW_KEYS_INSIDE, number, START)


def standing(mail_world, regeneration_id):
    """Return whether the secret is there, whether it was collected, the state, and how often the workflow is told."""
    with mail_world.database.read_session() as session:
        sealed = session.get_one(SealedSecret, regeneration_id)
        regeneration = session.get_one(Regeneration, regeneration_id)
        told = session.exec(select(Outbox.subject_id).where(Outbox.kind == "regeneration_collected")).all()
        collected = {sealed.collected_at, regeneration.collected_at}
    return sealed.sealed is not None, collected, regeneration.state, told.count(regeneration_id)


WAITING = (True, {None}, RegenerationState.OPEN, 0)
COLLECTED = (False, {utc(START)}, RegenerationState.COLLECTED, 1)


# Acceptance


def test_accepted_mail_with_keys_counts_as_collected(mail_world):
    regeneration_id, mailer = mail_world.regeneration(), RecordingMailer()
    activities = mail_world.activities(mailer)
    assert [activities.send_mail(order(regeneration_id)) for _ in range(3)] == [SendMailResult("sent")] * 3
    [envelope] = mailer.envelopes
    assert [SECRET in form for form in (envelope.rendered.text, envelope.rendered.html)] == [True, True]
    assert standing(mail_world, regeneration_id) == COLLECTED
    with mail_world.database.write_session() as session:  # the old key pair lives out its overlap from then on
        assert regenerations.begin_overlap(session, regeneration_id, overlap=60, now=START + 30) == START + 60


def test_mail_with_keys_killed_between_smtp_and_commit_is_repeated_unchanged(mail_world, monkeypatch):
    regeneration_id, mailer = mail_world.regeneration(), RecordingMailer()
    with monkeypatch.context() as patch:
        patch.setattr("octy_worker.activities.mail.record_mailed", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            mail_world.activities(mailer).send_mail(order(regeneration_id))
    assert mail_world.mail(f"{regeneration_id}/new_keys_inside/1").state == MailState.PENDING  # one transaction
    assert standing(mail_world, regeneration_id) == WAITING
    assert mail_world.activities(mailer).send_mail(order(regeneration_id)) == SendMailResult("sent")
    first, second = mailer.envelopes
    assert (first.message_id, first.rendered) == (second.message_id, second.rendered)
    assert standing(mail_world, regeneration_id) == COLLECTED


def test_rejected_mail_with_keys_collects_nothing_and_the_next_one_may(sqlite_mail_world):
    mail_world = sqlite_mail_world
    regeneration_id, mailer = mail_world.regeneration(), RecordingMailer(REFUSED, SENT)
    activities = mail_world.activities(mailer)
    assert activities.send_mail(order(regeneration_id)) == SendMailResult("failed", "rcpt-550")
    assert standing(mail_world, regeneration_id) == WAITING
    with mail_world.database.write_session() as session:
        assert session.get_one(KeyPair, mail_world.pair_id).state == KeyPairState.ACTIVE
        assert regenerations.renew_link(session, regeneration_id, 2, ttl=60, now=START) == 2
    assert activities.send_mail(order(regeneration_id, 2)) == SendMailResult("sent")
    assert all(SECRET in envelope.rendered.text for envelope in mailer.envelopes)
    assert "It is the same key pair" in mailer.envelopes[1].rendered.text
    assert standing(mail_world, regeneration_id) == COLLECTED


def test_deferred_mail_with_keys_collects_nothing(sqlite_mail_world):
    regeneration_id = sqlite_mail_world.regeneration()
    with pytest.raises(ApplicationError, match="rcpt-450"):
        sqlite_mail_world.activities(RecordingMailer(LATER)).send_mail(order(regeneration_id))
    assert standing(sqlite_mail_world, regeneration_id) == WAITING


def test_older_mail_with_keys_accepted_late_counts_as_collected(sqlite_mail_world):
    """A reader of that mail has the secret, although a newer one was ordered meanwhile; that one is not sent then."""
    regeneration_id, mailer = sqlite_mail_world.regeneration(), RecordingMailer()
    with sqlite_mail_world.database.write_session() as session:
        regenerations.renew_link(session, regeneration_id, 2, ttl=0, now=START - 60)
    activities = sqlite_mail_world.activities(mailer)
    assert activities.send_mail(order(regeneration_id)) == SendMailResult("sent")
    assert standing(sqlite_mail_world, regeneration_id) == COLLECTED
    assert activities.send_mail(order(regeneration_id, 2)) == SendMailResult("skipped", "obsolete")
    assert len(mailer.envelopes) == 1


class SlowMailer(RecordingMailer):
    """A mail server during whose reply something happens."""

    def __init__(self, happens):
        super().__init__()
        self._happens = happens

    def send(self, envelope):
        self._happens()
        return super().send(envelope)


def ends(mail_world, regeneration_id):
    with mail_world.database.write_session() as session:
        regenerations.finish(session, regeneration_id, RegenerationState.SUPERSEDED, START)


def is_cut(mail_world, regeneration_id):
    with mail_world.database.read_session() as session:
        new_pair = session.get_one(Regeneration, regeneration_id).new_pair_id
    mail_world.update_pair(new_pair, state=KeyPairState.RETIRED)


@pytest.mark.parametrize("happens", [ends, is_cut])
def test_regeneration_that_ended_while_its_mail_was_sent_is_not_collected(sqlite_mail_world, happens):
    regeneration_id = sqlite_mail_world.regeneration()
    mailer = SlowMailer(lambda: happens(sqlite_mail_world, regeneration_id))
    assert sqlite_mail_world.activities(mailer).send_mail(order(regeneration_id)) == SendMailResult("sent")
    _, collected, state, told = standing(sqlite_mail_world, regeneration_id)
    assert (collected, told) == ({None}, 0)
    assert state != RegenerationState.COLLECTED


@pytest.mark.parametrize("happens", [ends, is_cut])
def test_keys_of_an_ended_regeneration_are_not_mailed(sqlite_mail_world, happens):
    regeneration_id, mailer = sqlite_mail_world.regeneration(), RecordingMailer()
    happens(sqlite_mail_world, regeneration_id)
    assert sqlite_mail_world.activities(mailer).send_mail(order(regeneration_id)) == SendMailResult(
        "skipped", "obsolete"
    )
    assert mailer.envelopes == []


def test_mail_with_a_link_collects_nothing(sqlite_mail_world):
    regeneration_id = sqlite_mail_world.regeneration()
    sqlite_mail_world.activities(RecordingMailer()).send_mail(
        SendMailInput(regeneration_id, MailKind.NEW_KEYS, 1, START)
    )
    assert standing(sqlite_mail_world, regeneration_id) == WAITING


# What the mail says


@pytest.mark.parametrize(
    ("case", "said", "unsaid"),
    [
        ({"old": False}, ["Your first Octy API key pair", "An account was opened"], ["old key pair"]),
        (
            {},
            ["a new API key pair", "24 hours after your mail server accepted this mail", PUBLIC_KEY],
            ["already stopped"],
        ),
        ({"leaked": True}, ["a new API key pair", "It has already stopped working", PUBLIC_KEY], ["It works until"]),
    ],
    ids=["first", "replaced", "leaked"],
)
def test_mail_with_keys_has_both_keys_and_warns_to_delete_it(sqlite_mail_world, case, said, unsaid):
    rendered = sqlite_mail_world.rendered(order(sqlite_mail_world.regeneration(**case)))
    for form in (" ".join(rendered.text.split()), " ".join(rendered.html.split())):
        assert all(fact in form for fact in (SECRET, "hen delete this mail", "write to us at once", *said))
        assert not any(fact in form for fact in (*unsaid, "It is the same key pair", "collect", "href"))
    assert "http" not in rendered.text


@pytest.mark.parametrize(
    ("deliver", "said"), [("link", "a link to the new secret key"), ("mail", "mail you both new keys")]
)
def test_alert_announces_keys_by_mail_or_by_link_as_configured(sqlite_mail_world, deliver, said):
    rendered = sqlite_mail_world.rendered(
        SendMailInput(sqlite_mail_world.incident(), MailKind.ALERT, 1, START), deliver=deliver
    )
    for form in (" ".join(rendered.text.split()), " ".join(rendered.html.split())):
        assert said in form
        assert ("after you have collected" in form) is (deliver == "link")


# The secret is in the mail only


def test_repr_of_mail_values_shows_no_secret(sqlite_mail_world):
    regeneration_id, mailer = sqlite_mail_world.regeneration(), RecordingMailer()
    with sqlite_mail_world.database.read_session() as session:
        found = load_draft(
            session, sqlite_mail_world.links, order(regeneration_id), START, sealer=sqlite_mail_world.sealer
        )
    sqlite_mail_world.activities(mailer).send_mail(order(regeneration_id))
    for shown in (found, found.facts, mailer.envelopes, mailer.envelopes[0].rendered):
        assert SECRET not in f"{shown!r}{shown!s}"
    assert isinstance(found.facts.secret, Secret)


class FaultyRenderer:
    def render(self, facts):
        return facts.no_such_field


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("sealing key", ConfigurationError),
        ("template", AttributeError),
        ("smtp", ApplicationError),
        ("row", NoResultFound),
    ],
)
def test_mail_with_a_key_pair_inside_shows_no_secret_in_the_error_or_log_of_a_failure(
    sqlite_mail_world, monkeypatch, caplog, fault, error
):
    caplog.set_level(logging.DEBUG)
    regeneration_id, mailer = sqlite_mail_world.regeneration(), RecordingMailer(*([LATER] if fault == "smtp" else []))
    activities = sqlite_mail_world.activities(
        mailer,
        sealer=Sealer(Keychain.generate("other"), os.urandom) if fault == "sealing key" else None,
        renderer=FaultyRenderer() if fault == "template" else None,
    )
    if fault == "row":
        monkeypatch.setattr(
            "octy_worker.activities.mail.record_mailed", lambda session, *_: session.get_one(KeyPair, "")
        )
    with pytest.raises(error) as caught:
        activities.send_mail(order(regeneration_id))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert SECRET not in told
    assert standing(sqlite_mail_world, regeneration_id) == WAITING


# End to end, with a real mail server, a real Temporal server and the worker


SHAPE = re.compile(r"\bsk_[0-9A-Za-z]{49}\b")


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as open_world:
        open_world.run(add_missing_attributes(open_world.client))
        yield open_world


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    open_world = World(tmp_path)
    yield open_world
    open_world.close()


@pytest.fixture
def relay(tmp_path) -> Iterator[Server]:
    authority = Authority(tmp_path)
    with running(Server(Inbox(), tls_context=authority.serving())) as server:
        server.authority = authority
        yield server


def accepts(world: World, public_key: str, secret: str) -> bool:
    with world.authenticator() as authenticator:
        return authenticator.decide(FakeRequest(basic(public_key, secret))).outcome is Outcome.ACCEPTED


def mails(relay: Server, kind: str) -> list[str]:
    return [mail.part("plain") for mail in relay.handler.sent if f".{kind}." in mail.message["Message-ID"]]


def keys_in(text: str) -> tuple[str, str]:
    [secret] = SHAPE.findall(text)
    return re.findall(r"\bpk_[0-9A-Za-z]{28}\b", text)[0], secret


def use_old_pair(world: World, public_key: str) -> None:
    """Count uses in a minute that is after the collection, without waiting for it."""
    with world.database.write() as connection, Session(connection) as session:
        row = OutcomeMinute(
            public_key=public_key, minute=int(time.time()) // 60 + 2, source="s", outcome=Outcome.ACCEPTED, count=7
        )
        session.add(row)
        session.flush()


def finished(world: World) -> list[str]:
    return [state for (state,) in world.rows("SELECT state FROM regeneration WHERE finished_at IS NOT NULL")]


def test_secret_of_mailed_keys_is_in_the_mail_and_nowhere_else(
    world: World, relay: Server, temporal: Temporal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.CRITICAL, "mail.log")  # the test's own mail server logs what it receives
    settings = WorkerSettings(
        database_url=world.url,
        staff_auth="off",
        peppers=world.peppers,
        sealing_keys=world.sealing_keys,
        link_keys=world.sealing_keys,
        temporal_task_queue="mailed-keys",
        smtp_host="localhost",
        smtp_port=relay.port,
        smtp_ca_file=str(relay.authority.file),
        mail_from="Octy <security@octy.example>",
        deliver=DeliveryMethod.MAIL,
        overlap=3.0,
        overlap_warn_before=2.99,  # so the look is taken at once; the server's timers strike the second
    )
    contact = {"contact_email_address": "ada@customer.example"}
    register(world.database, "acme", contact, actor="test", now=time.time())
    histories = temporal.run(_from_order_to_end(world, relay, temporal, settings))

    (first, first_secret), (second, second_secret) = [keys_in(text) for text in mails(relay, "new_keys_inside")]
    assert (accepts(world, first, first_secret), accepts(world, second, second_secret)) == (False, True)
    assert finished(world) == ["done", "done"]
    assert [len(mails(relay, kind)) for kind in ("new_keys_inside", "still_used", "keys_retired")] == [2, 1, 1]
    assert "7 requests came with the old key pair" in mails(relay, "still_used")[0]
    assert len(histories) == 2
    assert b"new_keys_inside" in histories[0]
    stored = "".join(path.read_bytes().decode("latin-1") for path in world.folder.glob("octy.db*"))
    assert first in stored
    for secret in (first_secret, second_secret):
        assert secret not in caplog.text + stored
        for history in histories:
            assert not [private for private in ("ada@", "acme", first, second, secret) if private.encode() in history]


async def _from_order_to_end(world: World, relay: Server, temporal: Temporal, settings: WorkerSettings) -> list[bytes]:
    """Run the worker until the first keys are mailed, then replaced; return the histories as they are."""
    parts = daemon.WorkerComponents(settings)
    async with parts.run_workers(temporal.client):
        relaying = asyncio.create_task(Relay(parts.database, temporal.client, settings, time.time).run())
        await until_async(lambda: finished(world) == ["done"] or relaying.done())
        [text] = mails(relay, "new_keys_inside")
        assert await asyncio.to_thread(accepts, world, *keys_in(text))
        use_old_pair(world, keys_in(text)[0])
        with world.database.write_session() as session:
            regenerate(session, "acme", actor="ann", reason="asked for", leaked=False, now=time.time())
        await until_async(lambda: finished(world) == ["done", "done"] or relaying.done())
        await stop(relaying)
    parts.close()
    ids = [
        regeneration_workflow_id(INSTALLATION, found)
        for (found,) in world.rows("SELECT id FROM regeneration ORDER BY id")
    ]
    handles = [temporal.client.get_workflow_handle(name) for name in ids]
    histories = [await handle.fetch_history() for handle in handles]
    return [b"".join(event.SerializeToString() for event in history.events) for history in histories]
