"""The audit log: entries in a chain of hashes, and the checkpoints that were signed."""

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, time_column


class AuditEntry(Table, table=True):
    """One thing that staff, a customer or the worker did; append only. What is hashed: `octy_worker.audit.chain`."""

    __tablename__ = "audit_entry"

    seq: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BIG)  # Unix microseconds
    actor: str = Field(max_length=100)  # "system", "customer", or a staff handle
    action: str = Field(max_length=40)
    subject: str = Field(index=True, max_length=200)  # the id of what it is about
    order_id: str = Field(default="", index=True, max_length=36)  # of the signed order; empty: there was none
    commitment: str = Field(max_length=64)
    previous_hash: str = Field(max_length=64)
    hash: str = Field(max_length=64)
    detail: str | None = Field(default=None, sa_type=Text)  # canonical JSON; None: erased
    salt: str | None = Field(default=None, max_length=64)


class AuditCheckpoint(Table, table=True):
    """A signed hash of an entry, as it was written to the system log and into the support digest."""

    __tablename__ = "audit_checkpoint"

    number: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})  # from 1 on
    seq: int = Field(sa_type=BIG)  # of the entry
    at: datetime = time_column()
    text: str = Field(sa_type=Text)  # the signed line: `octy_worker.audit.checkpoints`
