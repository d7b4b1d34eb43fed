"""A database with one customer, and fake mailers, for the tests of mails."""

import os
import time
from datetime import timedelta
from functools import cache
from itertools import count

from sqlmodel import col, select, update

from octy_middleware.clock import to_micros, utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import (
    Account,
    Attempt,
    Incident,
    IncidentAnswer,
    KeyPair,
    Mail,
    Notice,
    Outbox,
    OutcomeMinute,
    Regeneration,
    SealedSecret,
)
from octy_middleware.domain.accounts import Accounts, change_contact
from octy_middleware.domain.notices import create_notice, record_added_keys
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.keychain import Keychain
from octy_middleware.recording.incident_counts import ADD_SUMS, ALL_TIME
from octy_middleware.states import KeyPairCause, KeyPairState, NoticeKind
from octy_worker.activities.mail import MailActivities
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.mail.facts import load_draft
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind, SendMailInput
from support.databases import make_database, remove_database

CHAIN = Keychain.generate()
START = 1_770_000_000.0
DAY = 86_400.0
ADDRESS = "ada@customer.example"
SECRET = "sk_" + "S3cr3t" * 8
PUBLIC_KEY = "pk_7Qm2VxT9rLw4Kc8Zb1Ns6Yd3Hf0a"
SENT = SmtpResult(SmtpStatus.ACCEPTED)


def settings(**values):
    return WorkerSettings(
        peppers=CHAIN,
        sealing_keys=CHAIN,
        link_keys=CHAIN,
        **{"public_url": "https://keys.octy.example", "mail_from": "Octy <security@octy.example>", **values},
    )


_renderer = cache(lambda values: MailRenderer(settings(**dict(values))))


class RecordingMailer:
    """A mailer that records envelopes and returns results from a list, the last one again and again."""

    def __init__(self, *answers):
        self.envelopes = []
        self.answers = list(answers or [SENT])

    def send(self, envelope):
        self.envelopes.append(envelope)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class World:
    """One account with its key pair in a real database, and a clock that stands still until it is moved."""

    def __init__(self, folder, database_kind, **account):
        self.url = make_database(folder, database_kind)
        self.database = Database(self.url)
        self.now = START
        self.settings = settings()
        self.links = Links(CHAIN, self.settings.public_url)
        self.sealer = Sealer(CHAIN, os.urandom)
        self._ids = count(1)
        self._failed = []  # of the next incident
        fields = {"contact_name": "Ada", "contact_email_address": ADDRESS, "security_email": ADDRESS, **account}
        self.account_id = self.add(Account(id=self.new_id(), reference="customer", created_at=utc(START), **fields))
        self.pair_id = self.pair(PUBLIC_KEY)

    def close(self):
        self.database.close()
        remove_database(self.url)

    def new_id(self):
        return f"01890c2e-0000-7000-8000-{next(self._ids):012d}"

    def add(self, *rows):
        first = getattr(rows[0], "id", None)
        with self.database.write_session() as session:
            for row in rows:
                session.add(row)
                session.flush()
        return first

    def pair(self, public_key, **fields):
        fields = {"state": KeyPairState.ACTIVE, "cause": KeyPairCause.FIRST, "created_at": utc(START), **fields}
        return self.add(
            KeyPair(id=self.new_id(), account_id=self.account_id, public_key=public_key, secret_digest="-", **fields)
        )

    def incident(self, **fields):
        """Create an incident; earlier ones of the key pair are closed, so that there can be many."""
        incident_id = self.new_id()
        fields = {
            "rule": "key",
            "length": 20,
            "failures": 20,
            "notify_at": 40,
            "request_id": "req-7f3a9c1d",
            "first_at": utc(self.now - 240),
            "opened_at": utc(self.now),
            "closed_at": utc(self.now),
            "public_key": PUBLIC_KEY,
            **fields,
        }
        incident = Incident(id=incident_id, key_pair_id=self.pair_id, account_id=self.account_id, **fields)
        self.add(incident, IncidentAnswer(incident_id=incident_id))
        with self.database.write() as connection:
            for source, number, user_agent, at in self._failed:
                last = (number, to_micros(at))
                sums = [(incident_id, ALL_TIME, source, *last, user_agent), (incident_id, int(at) // 60, "", *last, "")]
                ADD_SUMS.run(connection, sums)
        return incident_id

    def failures(self, source, number, user_agent="curl/8.5.0", outcome=Outcome.WRONG_SECRET, ago=60.0):
        at = self.now - ago
        minute = int(at) // 60
        if outcome is Outcome.WRONG_SECRET:
            self._failed.append((source, number, user_agent, at))
        self.add(
            OutcomeMinute(public_key=PUBLIC_KEY, minute=minute, source=source, outcome=outcome, count=number),
            Attempt(
                at=utc(at),
                public_key=PUBLIC_KEY,
                minute=minute,
                outcome=outcome,
                source=source,
                user_agent=user_agent,
                method="GET",
                path="/",
                request_id="r",
            ),
        )

    def regeneration(self, *, old=True, leaked=False, **fields):
        """A regeneration of the key pair whose new secret is uncollected."""
        new_pair = self.pair(f"pk_{self.new_id()}")
        regeneration_id = self.new_id()
        self.add(
            Regeneration(
                id=regeneration_id,
                account_id=self.account_id,
                cause=KeyPairCause.INCIDENT if old else KeyPairCause.FIRST,
                actor="customer",
                leaked=leaked,
                old_pair_id=self.pair_id if old else None,
                new_pair_id=new_pair,
                opened_at=utc(self.now),
                **fields,
            ),
            SealedSecret(
                regeneration_id=regeneration_id,
                sealed=self.sealer.seal(SECRET, regeneration_id),
                expires_at=utc(self.now) + timedelta(hours=24),
            ),
        )
        return regeneration_id

    def exposure(self, source="203.0.113.7", user_agent="curl/8.5.0", request_id="req-7f3a9c1d"):
        """The key pair came over plain HTTP; return the notice's id."""
        detail = {"source": source, "user_agent": user_agent, "request_id": request_id}
        with self.database.write() as connection:
            return create_notice(
                connection, NoticeKind.EXPOSED, self.account_id, self.now, detail, key_pair_id=self.pair_id
            )

    def added_keys(self):
        """An import adds a key pair to the account; return the notice's id."""
        with self.database.write() as connection:
            record_added_keys(connection, self.account_id, self.pair_id, [PUBLIC_KEY], self.now)
        with self.database.read_session() as session:
            return session.exec(select(Notice.id).where(Notice.kind == NoticeKind.KEYS_ADDED)).one()

    def move_to(self, address, *, staff=None):
        """The contact address is changed; return the newest notice's id, which a relay took."""
        with self.database.write_session() as session:
            account = session.get_one(Account, self.account_id)
            change_contact(session, account, {"contact_email_address": address}, self.now, staff=staff)
        with self.database.write_session() as session:
            session.connection().execute(update(Outbox).values(delivered_at=utc(self.now)))
            changes = select(Notice.id).where(Notice.kind == NoticeKind.CONTACT_CHANGED)
            return session.exec(changes.order_by(col(Notice.at).desc())).first()

    def new_webhook(self, url="https://hooks.customer.example/octy"):
        """The webhook URL is changed as a host app does it; return the notice's id."""
        Accounts(self.database, clock=lambda: self.now).change_contact("customer", {"webhook_url": url})
        with self.database.read_session() as session:
            return session.exec(select(Notice.id).where(Notice.kind == NoticeKind.WEBHOOK_CHANGED)).one()

    def subject(self, kind):  # noqa: PLR0911  # a row for each kind
        """Create the subject of a mail of this kind, and return its id."""
        match kind:
            case MailKind.ALERT | MailKind.REMINDER:
                return self.incident()
            case MailKind.EXPOSED:
                return self.exposure()
            case MailKind.KEYS_ADDED:
                return self.added_keys()
            case MailKind.CONTACT_CHANGED | MailKind.NEW_CONTACT:
                return self.move_to("new@elsewhere.example")
            case MailKind.WEBHOOK_CHANGED:
                return self.new_webhook()
            case MailKind.NEW_KEYS | MailKind.NEW_KEYS_INSIDE:
                return self.regeneration()
            case MailKind.STILL_USED:
                return self.overlap(("203.0.113.7", 3))
            case MailKind.KEYS_RETIRED:
                regeneration_id = self.regeneration()
                self.retire_old_key_pair()
                return regeneration_id

    def overlap(self, *uses, since=7200.0, ends_in=6 * 3600.0, **new_pair):
        """A regeneration whose old key pair is in its overlap, used since by these sources; return its id."""
        collected = self.now - since
        regeneration_id = self.regeneration(collected_at=utc(collected), state="collected")
        self.update_pair(self.pair_id, state=KeyPairState.RETIRING, retire_at=utc(self.now + ends_in))
        with self.database.read_session() as session:
            new_pair_id = session.get_one(Regeneration, regeneration_id).new_pair_id
        self.update_pair(new_pair_id, **new_pair)
        for source, number in uses:
            self.used(source, number, collected + 1800)
        return regeneration_id

    def used(self, source, number, at, outcome=Outcome.ACCEPTED):
        minute = int(at) // 60
        self.add(OutcomeMinute(public_key=PUBLIC_KEY, minute=minute, source=source, outcome=outcome, count=number))

    def update_pair(self, pair_id, **fields):
        with self.database.write_session() as session:
            pair = session.get_one(KeyPair, pair_id)
            pair.sqlmodel_update(fields)
            session.add(pair)

    def rename(self, name):
        with self.database.write_session() as session:
            account = session.get_one(Account, self.account_id)
            account.contact_name = name
            session.add(account)

    def retire_old_key_pair(self, **fields):
        self.update_pair(self.pair_id, **{"state": KeyPairState.RETIRED, "retired_at": utc(self.now), **fields})

    def activities(self, mailer, *, sealer=None, renderer=None, database=None, sleep=time.sleep, **values):
        return MailActivities(
            database=database or self.database,
            mailer=mailer,
            renderer=renderer or _renderer(()),
            links=self.links,
            sealer=sealer or self.sealer,
            settings=settings(**values),
            clock=lambda: self.now,
            sleep=sleep,
        )

    def rendered(self, order, **values):
        """Return the rendered mail of an input, as the activity makes it."""
        with self.database.read_session() as session:
            found = load_draft(session, self.links, order, self.now, sealer=self.sealer)
        return _renderer(tuple(values.items())).render(found.facts)

    def mail(self, key):
        with self.database.read_session() as session:
            return session.get(Mail, key)


def alert(incident_id, number=1, kind=MailKind.ALERT):
    return SendMailInput(incident_id, kind, number, START)


def open_world(folder, database_kind, **account):
    """Yield a world and close it; for fixtures."""
    world = World(folder, database_kind, **account)
    yield world
    world.close()
