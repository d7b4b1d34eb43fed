"""Accounts, their key pairs, and the feed of changed keys."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, partial_index, time_column, time_or_none
from octy_middleware.states import KeyPairState


class Account(Table, table=True):
    """One customer, known by an opaque reference of the host's own."""

    id: str = Field(primary_key=True, max_length=36)
    reference: str = Field(unique=True, max_length=200)
    contact_name: str = ""
    contact_surname: str = ""
    contact_email_address: str
    webhook_url: str = ""
    authenticated_id_key: str = ""
    security_email: str  # follows the contact address after a delay: `domain.accounts.security_addresses`
    contact_changed_at: datetime | None = time_or_none()
    contact_takes_effect_at: datetime | None = time_or_none()  # when the changed address becomes the security address
    # Replaced addresses: `domain.accounts`.
    contact_history: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    webhook_secret_version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    webhook_secret_changed_at: datetime | None = time_or_none()  # for a day after it, the previous secret signs too
    created_at: datetime = time_column()


class KeyPair(Table, table=True):
    """A public key and the digest of its secret."""

    __tablename__ = "key_pair"
    __table_args__ = (
        partial_index("ix_key_pair_imported_scheme", "imported_scheme", where="imported_scheme IS NOT NULL"),
    )

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    public_key: str = Field(unique=True, max_length=200)
    secret_digest: str
    # Of an imported hash, until the first successful request.
    imported_scheme: str | None = Field(default=None, max_length=32)
    state: str = Field(default=KeyPairState.PENDING, max_length=16)
    cause: str = Field(max_length=16)
    replaced_by: str | None = Field(default=None, max_length=36)
    created_at: datetime = time_column()
    activated_at: datetime | None = time_or_none()
    retire_at: datetime | None = time_or_none()
    retired_at: datetime | None = time_or_none()
    first_used_at: datetime | None = time_or_none()
    last_used_at: datetime | None = time_or_none()
    quiet_until: datetime | None = time_or_none()  # after the answer "it was us": failures open no incident
    exposed_at: datetime | None = time_or_none()  # the last notice that the pair came over plain HTTP


class KeyChange(Table, table=True):
    """The change feed: every process reads it and drops changed keys from its caches."""

    __tablename__ = "key_change"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_autoincrement": True}

    seq: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    public_key: str = Field(max_length=200)
    at: datetime = time_column()
