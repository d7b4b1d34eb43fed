"""Everything that staff can order: actions, fields, outputs. An order's subject is the id that the act is about."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from octy_worker.access.roles import Action
from octy_worker.staff.member_operations import MEMBER_ACTS
from octy_worker.staff.operations import Act, Fields
from octy_workflows.messages import ExtendedDeadlines, ResendResult
from octy_workflows.staff_requests import StaffDecision, StaffExtension, StaffResend

_ANY = "any"  # actor and reason are checked with the order


@dataclass(frozen=True, slots=True)
class Decision(Fields):
    """Fields of `incident.decide`. `decision`: a `Choice`."""

    decision: str
    leaked: bool = False

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return StaffDecision(self.decision, _ANY, _ANY, self.leaked).error()


@dataclass(frozen=True, slots=True)
class BulkDecision(Fields):
    """Fields of `incident.decide-many`: one decision for these incidents."""

    decision: str
    leaked: bool
    incidents: tuple[str, ...]

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return Decision(self.decision, self.leaked).error()


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
class Extension(Fields):
    """Fields of `incident.extend`: by how many days."""

    days: int

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return StaffExtension(self.days, _ANY, _ANY).error()


@dataclass(frozen=True, slots=True)
class Resend(Fields):
    """Fields of `incident.resend` and `keys.resend`. `kind`: one of `RESENDABLE`; empty: the last mail."""

    kind: str = ""

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return StaffResend(_ANY, _ANY, self.kind).error()


@dataclass(frozen=True, slots=True)
class Done:
    """Output of an act that returns nothing else."""

    order_id: str


@dataclass(frozen=True, slots=True)
class NewLink:
    """Output of `keys.resend`: the number of the mail with the new link."""

    mail: int


@dataclass(frozen=True, slots=True)
class Export(Fields):
    """Fields of `audit.export`: none."""


@dataclass(frozen=True, slots=True)
class EvidencePack:
    """Output of `audit.export`: a ZIP file in Base64, and the hash of the file in hex."""

    content: str
    sha256: str


_DECISIONS = "octy_worker.staff.decisions"
_REFUSED = f"{_DECISIONS}:record_refusal"

DECIDE = Act(Action.DECIDE, Decision, Done, f"{_DECISIONS}:decide", on_refusal=_REFUSED)
"""Subject: the incident's id."""
DECIDE_MANY = Act(Action.DECIDE_MANY, BulkDecision, BulkResult, "octy_worker.staff.bulk_decisions:decide_many")
"""Subject: none."""
EXTEND = Act(Action.EXTEND, Extension, ExtendedDeadlines, f"{_DECISIONS}:extend", on_refusal=_REFUSED)
"""Subject: the incident's id."""
RESEND = Act(Action.RESEND, Resend, ResendResult, f"{_DECISIONS}:resend", on_refusal=_REFUSED)
"""Subject: the incident's id."""
RESEND_KEYS = Act(Action.RESEND_KEYS, Resend, NewLink, f"{_DECISIONS}:resend_keys", on_refusal=_REFUSED)
"""Subject: the regeneration's id."""
EXPORT = Act(Action.EXPORT_AUDIT, Export, EvidencePack, "octy_worker.staff.audit_exports:export", for_author=True)
"""Subject: the incident's id."""

_ALL: tuple[Act[Any, Any], ...] = (DECIDE, DECIDE_MANY, EXTEND, RESEND, RESEND_KEYS, EXPORT, *MEMBER_ACTS)
ACTS: dict[Action, Act[Any, Any]] = {act.action: act for act in _ALL}
"""All acts by action."""
