"""Messages: the outbox to Temporal, notices, mails and webhooks."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, partial_index, time_column, time_or_none
from octy_middleware.states import MailState, WebhookState


class Outbox(Table, table=True):
    """One message for Temporal, written in the same transaction as its cause."""

    __table_args__ = (
        partial_index("ix_outbox_undelivered", "priority", "position", "id", where="delivered_at IS NULL"),
        partial_index("ix_outbox_subject", "subject_id", "id", where="delivered_at IS NULL"),
        partial_index("ix_outbox_account", "account_id", "priority", "position", where="delivered_at IS NULL"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    kind: str = Field(max_length=40)
    priority: int = 1  # `outbox.Priority`
    position: int = Field(default=0, sa_type=BIG)  # in its priority: Unix microseconds, later for busy accounts
    account_id: str = Field(default="", max_length=36)  # for fairness between accounts; may be empty
    subject_id: str = Field(max_length=36)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: datetime = time_column()
    delivered_at: datetime | None = time_or_none()
    delivery_attempts: int = 0
    last_error: str = ""
    # The relay that delivers it.
    leased_by: str = Field(default="", max_length=64, sa_column_kwargs={"server_default": ""})
    leased_until: datetime | None = time_or_none()  # then another relay may take it


class Notice(Table, table=True):
    """News for a customer that is not an incident. Its mail links to a page that replaces the keys."""

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    kind: str = Field(max_length=32)  # `states.NoticeKind`
    key_pair_id: str | None = Field(default=None, foreign_key="key_pair.id", max_length=36)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # by kind: `domain.notices`
    at: datetime = time_column()
    regeneration_id: str | None = Field(default=None, max_length=36)  # requested on its page


class Mail(Table, table=True):
    """One mail, pending or sent. The key is deterministic: a repeat finds its row."""

    key: str = Field(primary_key=True, max_length=100)  # "<subject id>/<kind>/<number>"
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    incident_id: str | None = Field(default=None, index=True, max_length=36)
    kind: str = Field(max_length=32)
    message_id: str = Field(unique=True, max_length=200)
    state: str = Field(default=MailState.PENDING, max_length=16)
    delivery_attempts: int = 0
    last_error: str = ""
    created_at: datetime = time_column()
    attempted_at: datetime | None = time_or_none()  # start of the last attempt
    sent_at: datetime | None = time_or_none()
    # Key of the mail that contains this alert; empty: a mail of its own.
    joined_mail: str = Field(default="", max_length=100, sa_column_kwargs={"server_default": ""})


class AlertHold(Table, table=True):
    """A period in which alerts are held back because of evidence of a fault of our own; at most 15 minutes."""

    __tablename__ = "alert_hold"

    id: str = Field(primary_key=True, max_length=36)
    evidence: str = Field(max_length=40)  # `octy_worker.mail.alert_hold.Evidence`
    accounts: int  # with refused requests from their usual addresses
    began_at: datetime = time_column()
    ends_at: datetime = time_column()
    staff_notified_at: datetime | None = time_or_none()  # the mail to support staff was accepted
    released_at: datetime | None = time_or_none()
    released_by: str = Field(default="", max_length=100)
    reason: str = ""


class Webhook(Table, table=True):
    """One event for the account's own server. The id is its `webhook-id`, the same at each try."""

    id: str = Field(primary_key=True, max_length=36)
    key: str = Field(unique=True, max_length=100)  # "<subject id>/<event>/<number>"
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    event: str = Field(max_length=40)  # `domain.webhook_events.WebhookEvent`
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # no secrets, addresses or names
    state: str = Field(default=WebhookState.PENDING, max_length=16)
    orders: int = 1  # number of deliveries requested: one by its cause, further ones by staff
    delivery_attempts: int = 0
    last_error: str = ""
    created_at: datetime = time_column()
    sent_at: datetime | None = time_or_none()
