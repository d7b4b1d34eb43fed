"""What acts return, for commands and the staff API; no output has a secret but that of `webhooks.secret`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from octy_worker.imports.report import ImportReport
from octy_worker.reports.key_delivery import KeyDelivery
from octy_worker.webhooks.failures import PostResult


@dataclass(frozen=True, slots=True)
class Done:
    """Output of an act that returns nothing else."""

    order_id: str


@dataclass(frozen=True, slots=True)
class NewLink:
    """Output of `keys.resend`: the number of the mail with the new link."""

    mail: int


class DecisionStatus(StrEnum):
    """The result of the decision for one incident."""

    DECIDED = "decided"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """The result for one incident, and why."""

    incident_id: str
    end: DecisionStatus
    why: str = ""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """Output of `incident.decide-many`, in the order of its incidents."""

    results: tuple[DecisionResult, ...]


@dataclass(frozen=True, slots=True)
class AmendmentResult:
    """What an amendment did. `ordered`, `withdrawn`: ids of regenerations."""

    closed: bool
    withdrawn: str | None = None
    ordered: str | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    """An approved order. `carried_out`: False where its author has to repeat the command with its id."""

    order_id: str
    action: str
    author: str
    carried_out: bool


@dataclass(frozen=True, slots=True)
class ReleasedHold:
    """A hold that was ended, by whom and when."""

    id: str
    actor: str
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class RetriedMessages:
    """Ids of outbox messages that will be retried."""

    retried: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RetriedWebhooks:
    """Ids of webhooks that will be retried."""

    retried: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """The ids that a registration created."""

    account_id: str
    regeneration_id: str


@dataclass(frozen=True, slots=True)
class ErasedAccount:
    """Output of `accounts.erase`. `details`: entries of the audit log whose detail was erased."""

    account_id: str
    details: int


@dataclass(frozen=True, slots=True)
class ContactChangeResult:
    """A changed contact address. `takes_effect_at`: when security mails follow to it; None: they go there already."""

    account_id: str
    account: str
    contact_email_address: str
    security_address: str
    takes_effect_at: datetime | None
    keys_wait: bool  # there are uncollected new keys, whose link can be sent again


@dataclass(frozen=True, slots=True)
class OrderedRegeneration:
    """A regeneration. `joined`: it was ordered before this call."""

    account: str
    regeneration_id: str
    joined: bool
    leaked: bool
    old_public_key: str | None


@dataclass(frozen=True, slots=True)
class OrderedKeys:
    """Output of `keys.regenerate`: the regeneration, and how far its delivery is."""

    ordered: OrderedRegeneration
    delivery: KeyDelivery


@dataclass(frozen=True, slots=True)
class RevocationResult:
    """A revoked key pair. `changed`: by this call; `delivery_stopped`: it was not collected yet."""

    public_key: str
    account: str
    changed: bool
    delivery_stopped: bool
    incident_id: str | None
    live_pairs: int


@dataclass(frozen=True, slots=True)
class ImportOutput:
    """What an import did, or would do. `refusal`: what is wrong and what to do, where the file has errors.

    `removed`: rows of an earlier, interrupted import were removed.
    """

    report: ImportReport
    sentences: tuple[str, ...]
    error_lines: tuple[str, ...]
    refusal: tuple[str, str] | None
    removed: bool


@dataclass(frozen=True, slots=True)
class EvidencePack:
    """Output of `audit.export`: a ZIP file in Base64, and the hash of the file in hex."""

    content: str
    sha256: str


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """The secret with which an account verifies its webhooks."""

    secret: str


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """An account's new webhook secret: its version, and until when the previous one is used too."""

    account_id: str
    reference: str
    version: int
    previous_until: datetime


@dataclass(frozen=True, slots=True)
class WebhookTest:
    """A test event and the result of its delivery."""

    webhook_id: str
    result: PostResult
