"""Incidents: their timeline, and the answer to each."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, partial_index, time_column, time_or_none
from octy_middleware.states import IncidentState


class Incident(Table, table=True):
    """One incident: which rule opened it, at which length of the streak, by which request."""

    __table_args__ = (partial_index("uq_incident_open", "key_pair_id", where="closed_at IS NULL", unique=True),)

    id: str = Field(primary_key=True, max_length=36)
    key_pair_id: str = Field(foreign_key="key_pair.id", index=True, max_length=36)
    account_id: str = Field(foreign_key="account.id", index=True, max_length=36)
    public_key: str = Field(max_length=200)
    rule: str = Field(max_length=16)  # streak.Rule
    network: str = Field(default="", max_length=64)  # of the streak, when the rule is "source"
    length: int = Field(sa_type=BIG)
    request_id: str = Field(max_length=100)
    first_at: datetime = time_column()  # first failure of the streak
    opened_at: datetime = time_column()
    failures: int = Field(sa_type=BIG)  # of this streak, as last sent to the workflow
    notify_at: int = Field(sa_type=BIG)  # the length at which the workflow is notified next: 40, 80, …
    regeneration_id: str | None = Field(default=None, index=True, max_length=36)
    state: str = Field(default=IncidentState.OPENING, max_length=16)
    resolution: str | None = Field(default=None, max_length=16)
    closed_at: datetime | None = time_or_none()


class IncidentEvent(Table, table=True):
    """One line of an incident's timeline; append only."""

    __tablename__ = "incident_event"

    incident_id: str = Field(primary_key=True, foreign_key="incident.id", max_length=36)
    seq: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    key: str = Field(unique=True, max_length=200)  # deterministic: a retried activity finds its row
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
    decision_id: str = Field(default="", max_length=100)  # a repeated decision changes nothing
