"""The tables, shared by the middleware and the worker.

Here: columns and keys. Not here: the names of states (`states`), what changes a row: each table's transitions live in
one room (`ledger`, `pairs`, `accounts`, `outbox`, and the worker's `cases` and `regenerations`).

Ids are UUIDv7 as text; the feeds (`key_change`, `attempt`, `outbox`) count up instead, because their readers go by
order. Times are UTC, stored as whole microseconds since 1970: the same on every database, with no driver's time zone
in between (`columns`). Python sees aware datetimes.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, text
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, time_column, time_or_none
from octy_middleware.states import IncidentState, KeyPairState, MailState, RegenerationState, WebhookState


class Account(Table, table=True):
    """One customer, known by an opaque reference of the host's own."""

    id: str = Field(primary_key=True, max_length=36)
    reference: str = Field(unique=True, max_length=200)
    contact_name: str = ""
    contact_surname: str = ""
    contact_email_address: str
    webhook_url: str = ""
    authenticated_id_key: str = ""
    security_email: str  # see accounts.security_addresses: follows the contact address later
    contact_changed_at: datetime | None = time_or_none()
    contact_takes_effect_at: datetime | None = time_or_none()  # when the changed address becomes the security address
    contact_history: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)  # see `accounts`
    webhook_secret_version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    webhook_secret_changed_at: datetime | None = time_or_none()  # the one before signs, too, for a day after it
    created_at: datetime = time_column()


class KeyPair(Table, table=True):
    """A public key and the digest of its secret."""

    __tablename__ = "key_pair"
    __table_args__ = (
        Index(
            "ix_key_pair_imported_scheme",
            "imported_scheme",
            sqlite_where=text("imported_scheme IS NOT NULL"),
            postgresql_where=text("imported_scheme IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    public_key: str = Field(unique=True, max_length=200)
    secret_digest: str
    imported_scheme: str | None = Field(
        default=None, max_length=32
    )  # of a hash from elsewhere, until its first success
    state: str = Field(default=KeyPairState.PENDING, max_length=16)
    cause: str = Field(max_length=16)
    replaced_by: str | None = Field(default=None, max_length=36)
    created_at: datetime = time_column()
    activated_at: datetime | None = time_or_none()
    retire_at: datetime | None = time_or_none()
    retired_at: datetime | None = time_or_none()
    first_used_at: datetime | None = time_or_none()
    last_used_at: datetime | None = time_or_none()
    quiet_until: datetime | None = time_or_none()  # after "it was us": recorded, but no new incident
    exposed_at: datetime | None = time_or_none()  # seen over plain HTTP, as the customer was last told


class KeyChange(Table, table=True):
    """Feed of changed keys; every process reads it to drop what it remembers."""

    __tablename__ = "key_change"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_autoincrement": True}

    seq: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    public_key: str = Field(max_length=200)
    at: datetime = time_column()


class OutcomeMinute(Table, table=True):
    """Exact count of one outcome for (public key, source, minute). Unknown keys share the empty key."""

    __tablename__ = "outcome_minute"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    public_key: str = Field(primary_key=True, max_length=200)
    minute: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    source: str = Field(primary_key=True, max_length=64)
    outcome: str = Field(primary_key=True, max_length=32)
    count: int = Field(sa_type=BigInteger)


class Attempt(Table, table=True):
    """One refused attempt in detail, or a use of a pair that will end; at most 60 a key, minute and outcome.

    The rest stays counted.
    """

    __table_args__ = (
        Index("ix_attempt_public_key_minute_outcome", "public_key", "minute", "outcome"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    at: datetime = time_column()
    public_key: str = Field(max_length=200)
    key_hash: str = Field(default="", max_length=32)  # keyed hash of an unknown key, never the typed text
    minute: int = Field(sa_type=BigInteger)
    outcome: str = Field(max_length=32)
    source: str = Field(max_length=64)
    user_agent: str = Field(max_length=200)
    method: str = Field(max_length=16)
    path: str = Field(max_length=200)
    request_id: str = Field(max_length=100)


class IncidentCount(Table, table=True):
    """Failed attempts of one incident, summed up by source and by time (see `incident_counts`); bounded rows."""

    __tablename__ = "incident_count"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    subject: str = Field(primary_key=True, max_length=200)  # incident, public key of a retired pair, or a decoy
    bucket: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    source: str = Field(primary_key=True, max_length=64)
    count: int = Field(sa_type=BigInteger)
    last_at: datetime = time_column()
    user_agent: str = Field(max_length=200)  # the last one that this source claimed to be


class Streak(Table, table=True):
    """Consecutive failures of (public key, source network); the empty network is the policy's own streak."""

    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    public_key: str = Field(primary_key=True, max_length=200)
    network: str = Field(primary_key=True, max_length=64)
    length: int = Field(sa_type=BigInteger)
    first_at: datetime = time_column()
    last_at: datetime = time_column()


class Incident(Table, table=True):
    """One case: which rule opened it, at which length, by which request."""

    __table_args__ = (
        Index(
            "uq_incident_open",
            "key_pair_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    key_pair_id: str = Field(foreign_key="key_pair.id", index=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    public_key: str = Field(max_length=200)
    rule: str = Field(max_length=16)  # streak.Rule
    network: str = Field(default="", max_length=64)  # the streak's network when rule is "source"
    length: int = Field(sa_type=BIG)
    request_id: str = Field(max_length=100)
    first_at: datetime = time_column()  # first failure of the streak
    opened_at: datetime = time_column()
    failures: int = Field(sa_type=BIG)  # of this streak so far, as last told to the workflow
    notify_at: int = Field(sa_type=BIG)  # the length at which the workflow is told next: 40, 80, …
    regeneration_id: str | None = Field(default=None, index=True, max_length=36)
    state: str = Field(default=IncidentState.OPENING, max_length=16)
    resolution: str | None = Field(default=None, max_length=16)
    closed_at: datetime | None = time_or_none()


class IncidentEvent(Table, table=True):
    """The case's timeline, append only."""

    __tablename__ = "incident_event"

    incident_id: str = Field(primary_key=True, foreign_key="incident.id", max_length=36)
    seq: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    key: str = Field(unique=True, max_length=200)  # deterministic: a retried activity finds its event
    at: datetime = time_column()
    actor: str = Field(max_length=100)  # "system", "customer", or a staff id
    what: str = Field(max_length=40)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class IncidentAnswer(Table, table=True):
    """The answer of the customer or of staff to an incident. One conditional UPDATE decides who gave it."""

    __tablename__ = "incident_answer"

    incident_id: str = Field(primary_key=True, foreign_key="incident.id", max_length=36)
    answer: str | None = Field(default=None, max_length=16)
    leaked: bool = False
    answered_at: datetime | None = time_or_none()
    answered_by: str = Field(default="", max_length=100)  # "customer" or a staff id
    decision_id: str = Field(default="", max_length=100)  # repeats of one decision are harmless


class Regeneration(Table, table=True):
    """One issue or replacement of a pair. At most one per account is on its way to the customer."""

    __table_args__ = (
        Index(
            "uq_regeneration_open",
            "account_id",
            unique=True,
            sqlite_where=text("collected_at IS NULL AND finished_at IS NULL"),
            postgresql_where=text("collected_at IS NULL AND finished_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    cause: str = Field(max_length=16)
    actor: str = Field(max_length=100)
    reason: str = ""
    leaked: bool = False
    old_pair_id: str | None = Field(default=None, foreign_key="key_pair.id", max_length=36)
    new_pair_id: str | None = Field(default=None, foreign_key="key_pair.id", max_length=36)
    state: str = Field(default=RegenerationState.OPEN, max_length=16)
    opened_at: datetime = time_column()
    collected_at: datetime | None = time_or_none()
    finished_at: datetime | None = time_or_none()


class SealedSecret(Table, table=True):
    """A new secret waiting to be collected: AES-GCM, erased when collected."""

    __tablename__ = "sealed_secret"

    regeneration_id: str = Field(primary_key=True, foreign_key="regeneration.id", max_length=36)
    sealed: str | None = None  # "<key id>$<nonce>$<ciphertext>"; None once collected or expired
    generation: int = 1  # a re-sent link has the next generation; older links die
    expires_at: datetime = time_column()
    collected_at: datetime | None = time_or_none()


class Mail(Table, table=True):
    """One mail, to be sent or sent. The key makes a repeat find its row."""

    key: str = Field(primary_key=True, max_length=100)  # "<subject id>/<kind>/<number>"
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    incident_id: str | None = Field(default=None, index=True, max_length=36)
    kind: str = Field(max_length=32)
    message_id: str = Field(unique=True, max_length=200)
    state: str = Field(default=MailState.PENDING, max_length=16)
    tries: int = 0
    last_error: str = ""
    created_at: datetime = time_column()
    tried_at: datetime | None = time_or_none()  # when a try began last
    sent_at: datetime | None = time_or_none()
    joined_mail: str = Field(
        default="", max_length=100, sa_column_kwargs={"server_default": ""}
    )  # key of the mail that this alert joined; empty: its own


class AlertHold(Table, table=True):
    """A time in which no alert leaves, because of evidence of a fault of our own; 15 minutes at most."""

    __tablename__ = "alert_hold"

    id: str = Field(primary_key=True, max_length=36)
    evidence: str = Field(max_length=40)  # octy_worker.mail.alert_hold.Evidence
    accounts: int  # that were refused at their own addresses
    began_at: datetime = time_column()
    ends_at: datetime = time_column()
    staff_notified_at: datetime | None = time_or_none()  # the mail to support staff was accepted
    released_at: datetime | None = time_or_none()
    released_by: str = Field(default="", max_length=100)
    reason: str = ""


class Webhook(Table, table=True):
    """One event that the account's own server is told. The id is its `webhook-id`, the same at each try."""

    id: str = Field(primary_key=True, max_length=36)
    key: str = Field(unique=True, max_length=100)  # "<subject id>/<event>/<number>"
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    event: str = Field(max_length=40)  # webhooks.WebhookEvent
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # ids, counts, choices, public keys, times
    state: str = Field(default=WebhookState.PENDING, max_length=16)
    orders: int = 1  # by its cause, and then by staff
    tries: int = 0
    last_error: str = ""
    created_at: datetime = time_column()
    sent_at: datetime | None = time_or_none()


class StaffRequestRow(Table, table=True):
    """What staff ordered of a workflow; messages to it carry the id alone. Append only, but for its use."""

    __tablename__ = "staff_request"

    id: str = Field(primary_key=True, max_length=64)  # a UUIDv7, or the id that staff gave to repeat it
    action: str = Field(max_length=16)
    subject_id: str = Field(max_length=36)  # of an incident, or of a regeneration
    fields: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # what the action needs beside the next two
    reason: str
    actor: str = Field(max_length=100)
    created_at: datetime = time_column()
    used_at: datetime | None = time_or_none()
    used_by: str = Field(default="", max_length=120)  # the workflow's run and activity, whose retry may find it used
    result: str = Field(default="", max_length=16)  # orders.Result


class Notice(Table, table=True):
    """Something that a customer is told and that is no case; its mail leads to a page that replaces the keys."""

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    kind: str = Field(max_length=32)  # states.NoticeKind
    key_pair_id: str | None = Field(default=None, foreign_key="key_pair.id", max_length=36)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # see `notices`
    at: datetime = time_column()
    regeneration_id: str | None = Field(default=None, max_length=36)  # ordered on its page


class Outbox(Table, table=True):
    """One message for Temporal, written in the same transaction as its cause."""

    __table_args__ = (
        Index(
            "ix_outbox_undelivered",
            "priority",
            "position",
            "id",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
        Index(
            "ix_outbox_subject",
            "subject_id",
            "id",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
        Index(
            "ix_outbox_account",
            "account_id",
            "priority",
            "position",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    kind: str = Field(max_length=40)
    priority: int = 1  # `outbox.Priority`
    position: int = Field(default=0, sa_type=BIG)  # within the priority: Unix microseconds, later for busy accounts
    account_id: str = Field(default="", max_length=36)  # whose share it takes; may be empty
    subject_id: str = Field(max_length=36)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: datetime = time_column()
    delivered_at: datetime | None = time_or_none()
    tries: int = 0
    last_error: str = ""
    leased_by: str = Field(
        default="", max_length=64, sa_column_kwargs={"server_default": ""}
    )  # the relay that delivers it now
    leased_until: datetime | None = time_or_none()  # after that another relay takes it


class Job(Table, table=True):
    """A job that one worker at a time does in small steps; the cursor is where it goes on after a crash."""

    name: str = Field(primary_key=True, max_length=40)
    holder: str = Field(default="", max_length=64)
    leased_until: datetime | None = time_or_none()
    cursor: str = Field(default="", max_length=300)
    started_at: datetime | None = time_or_none()
    finished_at: datetime | None = time_or_none()  # of the last complete run
    done: int = Field(default=0, sa_type=BigInteger)  # rows of the run under way, or of the last one
    last_error: str = ""


class AppProcess(Table, table=True):
    """A process of a host app, as it last told of itself beside its outcomes."""

    __tablename__ = "app_process"

    id: str = Field(primary_key=True, max_length=40)
    host: str = Field(max_length=100)
    pid: int
    release: str = Field(max_length=20)
    seen_at: datetime = time_column()
    queued: int  # outcomes waiting for their commit
    lost: int = Field(sa_type=BigInteger)  # outcomes given up since it began
    commit_micros: int = Field(sa_type=BigInteger)  # what its last commit took
    failures: int = Field(sa_type=BigInteger)  # commits that failed since it began
    last_error: str  # of the last one that failed, whether it is over or not
    failed_at: datetime | None = time_or_none()  # when that was


class InstallationRow(Table, table=True):
    """Which installation this database belongs to; one row (`installation`)."""

    __tablename__ = "installation"

    slot: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})  # always 1
    id: str = Field(max_length=32)
    location: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # where the database was when last confirmed
    created_at: datetime = time_column()


class KeyCheck(Table, table=True):
    """A keyed check value of one key of one chain; it tells a key from another with the same id (`key_checks`)."""

    __tablename__ = "key_check"

    purpose: str = Field(primary_key=True, max_length=32)  # the setting's name: "peppers", "link_keys", …
    key_id: str = Field(primary_key=True, max_length=16)
    check_value: str = Field(max_length=64)
    registered_at: datetime = time_column()


class WriteLock(Table, table=True):
    """A row that writers lock, and nobody changes (`postgres`); none on SQLite, where the file is locked."""

    __tablename__ = "write_lock"

    slot: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})


METADATA = Table.metadata
"""All tables above. Only this module knows that they are all there."""
