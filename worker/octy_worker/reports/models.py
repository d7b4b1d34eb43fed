"""Shapes of the reports for support staff. Their fields are the names of the `octy` command's JSON.

Scripts use these names: add fields, but do not rename them. No report contains a secret, a digest or a link.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_worker.domain.histogram import Plot
from octy_worker.domain.usage import LateUse, SourceCount


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account in a list."""

    id: str
    reference: str
    contact_email_address: str
    live_pairs: int
    open_incidents: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PairLine:
    """One key pair: its public key and its life."""

    public_key: str
    account: str
    state: str
    cause: str
    created_at: datetime
    activated_at: datetime | None
    retire_at: datetime | None
    retired_at: datetime | None
    first_used_at: datetime | None
    last_used_at: datetime | None
    quiet_until: datetime | None
    exposed_at: datetime | None
    replaced_by: str | None


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One incident in a list. `failures` is the count as of the last notice: 20, 40, 80 and so on."""

    id: str
    account: str
    public_key: str
    rule: str
    network: str
    length: int
    failures: int
    state: str
    answer: str | None
    leaked: bool
    answered_by: str
    resolution: str | None
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class MailLine:
    """One mail, to be or already sent."""

    key: str
    kind: str
    incident_id: str | None
    state: str
    delivery_attempts: int
    last_error: str
    created_at: datetime
    sent_at: datetime | None
    joined_mail: str = ""  # the mail that this alert joined


@dataclass(frozen=True, slots=True)
class RegenerationLine:
    """One issue or replacement of a pair. `new_first_used_at`: when the new pair was first accepted."""

    id: str
    cause: str
    state: str
    actor: str
    reason: str
    leaked: bool
    old_public_key: str | None
    new_public_key: str | None
    opened_at: datetime
    collected_at: datetime | None
    finished_at: datetime | None
    new_first_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NoticeLine:
    """A notice to the customer, which is no incident; `mails` are its mails."""

    id: str
    kind: str
    at: datetime
    public_key: str | None
    regeneration_id: str | None
    mails: tuple[MailLine, ...]


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One entry of an incident's timeline."""

    at: datetime
    actor: str
    what: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry of the audit log in a list. `detail` is None when it was erased."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    order_id: str
    detail: dict[str, Any] | None
    hash: str


@dataclass(frozen=True, slots=True)
class UseLine:
    """How often a key met one outcome from one source, lately."""

    source: str
    outcome: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account. `security_addresses`: the first gets everything, further ones notices without links.

    Notices and mails are the newest ones; their totals count all.
    """

    id: str
    reference: str
    contact_email_address: str
    contact_name: str
    contact_surname: str
    webhook_url: str
    authenticated_id_key: str
    security_addresses: tuple[str, ...]
    contact_changed_at: datetime | None
    contact_takes_effect_at: datetime | None
    created_at: datetime
    pairs: tuple[PairLine, ...]
    open_incidents: tuple[IncidentLine, ...]
    regenerations: tuple[RegenerationLine, ...]
    notices: tuple[NoticeLine, ...]
    notices_total: int
    mails: tuple[MailLine, ...]
    mails_total: int


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """One incident. `failures` counts up to now; `plot`: its failures over time, None when they are no longer kept.

    `sources`: the most frequent ones. `source_count`: of all; a lower bound unless `sources_complete`.
    """

    incident: IncidentLine
    failures: int
    request_id: str
    first_at: datetime
    answered_at: datetime | None
    workflow_id: str
    regeneration: RegenerationLine | None
    plot: Plot | None
    sources: tuple[SourceCount, ...]
    source_count: int
    sources_complete: bool
    late_uses: tuple[LateUse, ...]
    late_uses_total: int
    mails: tuple[MailLine, ...]
    timeline: tuple[TimelineLine, ...]


@dataclass(frozen=True, slots=True)
class KeyReport:
    """One pair, and where it was used from lately."""

    pair: PairLine
    open_incident: str | None
    since: datetime
    uses: tuple[UseLine, ...]
    uses_total: int
    late_uses: tuple[LateUse, ...]
    late_uses_total: int
