"""Staff in a browser: log-ins that are under way, links for enrolment, and orders that wait for their passkey.

None of these rows is a record: each is deleted some time after its end. What they led to is in the audit log.
"""

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field

from octy_middleware.db.columns import Table, time_column, time_or_none


class StaffBrowserLogin(Table, table=True):
    """A log-in that began by certificate and goes on in a browser (`octy_worker.access.browser_logins`)."""

    __tablename__ = "staff_browser_login"

    id: str = Field(primary_key=True, max_length=36)
    staff_id: str = Field(foreign_key="staff.id", max_length=36)
    certificate: str = Field(sa_type=Text)  # as in a -cert.pub file
    nonce_hash: str = Field(unique=True, max_length=64)  # SHA-256 of the signed text's nonce, which counts once
    code_hash: str = Field(unique=True, max_length=64)  # HMAC of the one-time code
    cookie_hash: str = Field(default="", index=True, max_length=64)  # SHA-256 of the cookie that used the code
    challenge: str = Field(default="", max_length=64)  # hex; of the passkey that finishes it
    state: str = Field(max_length=16)
    expires_at: datetime = time_column(index=True)
    mac: str = Field(max_length=90)


class StaffEnrolment(Table, table=True):
    """A one-time link with which one person, logged in by certificate, registers a second factor."""

    __tablename__ = "staff_enrolment"

    id: str = Field(primary_key=True, max_length=36)
    staff_id: str = Field(foreign_key="staff.id", index=True, max_length=36)
    token_hash: str = Field(unique=True, max_length=64)  # SHA-256 in hex
    granted_by: str = Field(max_length=64)  # the order that allows it; "bootstrap" for the first admin
    expires_at: datetime = time_column(index=True)
    used_at: datetime | None = time_or_none()
    mac: str = Field(max_length=90)


class StaffPendingOrder(Table, table=True):
    """An order that its author has made and not yet signed (`octy_worker.access.pending_orders`)."""

    __tablename__ = "staff_pending_order"

    id: str = Field(primary_key=True, max_length=36)
    actor: str = Field(index=True, max_length=64)
    body: str = Field(sa_type=Text)  # the canonical bytes
    private: str = Field(default="", sa_type=Text)  # sealed JSON of what the body holds commitments to
    expires_at: datetime = time_column(index=True)
    mac: str = Field(max_length=90)
