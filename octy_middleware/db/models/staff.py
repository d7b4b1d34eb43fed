"""Staff: who they are, their second factors, their sessions, and the orders that they signed.

Rows that grant something have a code (`mac`) under a key that only workers have: a row written by SQL grants nothing
(`octy_worker.access.row_macs`).
"""

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, time_column, time_or_none


class Staff(Table, table=True):
    """One person with access to the system. `role` and `state`: `octy_worker.access`."""

    id: str = Field(primary_key=True, max_length=36)
    handle: str = Field(unique=True, max_length=64)  # the name in certificates, orders and timelines
    display_name: str = Field(default="", max_length=200)
    mail: str = Field(default="", max_length=254)
    role: str = Field(max_length=16)
    state: str = Field(max_length=16)
    granted_by: str = Field(max_length=64)  # the order that gave role and state; "bootstrap" for the first admin
    created_at: datetime = time_column()
    changed_at: datetime = time_column()
    mac: str = Field(max_length=90)


class StaffFactor(Table, table=True):
    """A second factor of a staff member."""

    __tablename__ = "staff_factor"

    id: str = Field(primary_key=True, max_length=36)
    staff_id: str = Field(foreign_key="staff.id", index=True, max_length=36)
    kind: str = Field(max_length=16)  # "totp", "passkey" or "hardware-key"
    label: str = Field(default="", max_length=100)
    secret: str = Field(sa_type=Text)  # TOTP: the sealed seed; others: a public key
    counter: int = Field(default=0, sa_type=BIG)  # of the last accepted code or signature; not in the code
    granted_by: str = Field(max_length=64)  # the order that allowed it; "bootstrap" for the first admin's first one
    created_at: datetime = time_column()
    removed_at: datetime | None = time_or_none()
    mac: str = Field(max_length=90)


class StaffAuthority(Table, table=True):
    """A key of the built-in certificate authority; the newest one signs."""

    __tablename__ = "staff_authority"

    id: str = Field(primary_key=True, max_length=36)
    public_key: str = Field(sa_type=Text)  # as OCTY_STAFF_CA_KEYS takes it
    private_key: str = Field(sa_type=Text)  # sealed under OCTY_STAFF_KEYS
    last_serial: int = Field(default=0, sa_type=BIG)  # of the last certificate; the rows share one sequence
    created_at: datetime = time_column()
    mac: str = Field(max_length=90)


class StaffOrder(Table, table=True):
    """An order as it was received: exactly what was signed, the proof, and the judgement. Only its end changes."""

    __tablename__ = "staff_order"

    id: str = Field(primary_key=True, max_length=36)
    action: str = Field(max_length=40)
    subject: str = Field(index=True, max_length=200)
    actor: str = Field(index=True, max_length=64)
    body: str = Field(sa_type=Text)  # the canonical bytes
    private: str = Field(default="", sa_type=Text)  # JSON of what the body holds commitments to; emptied at the end
    signature: str = Field(sa_type=Text)  # armored SSH signature
    certificate: str = Field(sa_type=Text)  # as in a -cert.pub file
    factor: str = Field(max_length=36)  # id of the second factor; "hardware-key", "break-glass", "none"
    source: str = Field(default="", max_length=64)
    part_of: str = Field(default="", max_length=36)  # the order of many acts to which this one belongs
    received_at: datetime = time_column()
    mac: str = Field(max_length=90)
    state: str = Field(max_length=16)  # waiting, received, used, refused
    used_by: str = Field(default="", max_length=120)  # the workflow's run and activity: its retry may use it again
    ended_at: datetime | None = time_or_none()
    refusal: str = Field(default="", max_length=300)
    output: str = Field(default="", sa_type=Text)  # JSON of what the act did, for a repeat; emptied after a day


class StaffSession(Table, table=True):
    """A session of a staff member (`octy_worker.access.sessions`)."""

    __tablename__ = "staff_session"

    id: str = Field(primary_key=True, max_length=36)
    token_hash: str = Field(unique=True, max_length=64)  # SHA-256 in hex
    nonce_hash: str | None = Field(default=None, unique=True, max_length=64)  # of the log-in, which counts once
    staff_id: str = Field(foreign_key="staff.id", index=True, max_length=36)
    staff_mac: str = Field(max_length=90)  # of the staff member's row at the log-in: another role ends the session
    kind: str = Field(max_length=16)  # "cli" or "browser"
    certificate: str = Field(sa_type=Text)  # as in a -cert.pub file
    factor: str = Field(max_length=36)  # id of the second factor; "hardware-key"
    source: str = Field(default="", max_length=64)  # address of the log-in
    created_at: datetime = time_column()
    expires_at: datetime = time_column(index=True)
    last_used_at: datetime = time_column()
    ended_at: datetime | None = time_or_none()
    ended_by: str = Field(default="", max_length=100)
    mac: str = Field(max_length=90)
