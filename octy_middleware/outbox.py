"""The one door to Temporal, this side of it: messages written in the same transaction as their cause.

Here: the kinds of message and how one is put down. Not here: delivery (`octy_worker.relay`).
"""

import json
from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Connection, insert

from octy_middleware.clock import utc
from octy_middleware.database import ring
from octy_middleware.models import Outbox

TRIES = 5
"""Deliveries of a message that is itself at fault; then it is set aside, undelivered and visible."""


class Event(StrEnum):
    """What happened, and in brackets whose id `subject_id` is."""

    INCIDENT_OPENED = "incident_opened"  # (incident)
    INCIDENT_GREW = "incident_grew"  # (incident) failures
    INCIDENT_ANSWERED = "incident_answered"  # (incident) answer, leaked
    INCIDENT_CHANGED = "incident_changed"  # (incident) answer, leaked, by, change_id
    REGENERATION_OPENED = "regeneration_opened"  # (regeneration)
    REGENERATION_COLLECTED = "regeneration_collected"  # (regeneration)
    REGENERATION_SUPERSEDED = "regeneration_superseded"  # (regeneration)
    REGENERATION_FINISHED = "regeneration_finished"  # (incident that waited for it) state
    NOTICE_GIVEN = "notice_given"  # (notice)
    WEBHOOK_DUE = "webhook_due"  # (webhook) order


def put(
    connection: Connection,
    event: Event,
    subject_id: str,
    now: float,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Put one message down in the caller's transaction. `detail` holds JSON values, no personal data."""
    json.dumps(detail or {})  # a value that can't travel fails here, beside its cause
    connection.execute(
        insert(Outbox).values(kind=event, subject_id=subject_id, detail=dict(detail or {}), created_at=utc(now))
    )
    ring(connection)
