"""Regenerations of key pairs, and new secrets that wait to be collected."""

from datetime import datetime

from sqlmodel import Field

from octy_middleware.db.columns import Table, partial_index, time_column, time_or_none
from octy_middleware.states import RegenerationState


class Regeneration(Table, table=True):
    """The issue or replacement of a key pair. At most one for an account is open and not collected."""

    __table_args__ = (
        partial_index(
            "uq_regeneration_open", "account_id", where="collected_at IS NULL AND finished_at IS NULL", unique=True
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
    """A new secret that waits to be collected: encrypted by AES-GCM, erased when collected."""

    __tablename__ = "sealed_secret"

    regeneration_id: str = Field(primary_key=True, foreign_key="regeneration.id", max_length=36)
    sealed: str | None = None  # "<key id>$<nonce>$<ciphertext>"; None once collected or expired
    generation: int = 1  # a re-sent link has the next generation; earlier links are invalid
    expires_at: datetime = time_column()
    collected_at: datetime | None = time_or_none()
