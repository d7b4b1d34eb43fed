"""Everything that workflows are told and tell: frozen dataclasses of ids, choices and times.

Here: inputs, signals, updates, queries' answers, and the workflow ids as functions. Not here: personal data, key
material, anything that must not stay in a Temporal history for good.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

HOUR = 3600.0
DAY = 24 * HOUR

_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REASON_LIMIT = 300
_SECRET_KEY = re.compile(r"sk_[0-9A-Za-z]")


def incident_workflow_id(incident_id: str) -> str:
    """Return the id of the incident's one workflow; starting it twice is harmless."""
    return f"octy-incident-{incident_id}"


def regeneration_workflow_id(regeneration_id: str) -> str:
    """Return the id of the regeneration's one workflow."""
    return f"octy-regeneration-{regeneration_id}"


@dataclass(frozen=True)
class RegenerationTimes:
    """Seconds, counted from the moment that the new keys were sent (overlap: from their collection)."""

    overlap: float = DAY
    resend_after: tuple[float, ...] = (DAY, 3 * DAY)
    staff_after: float = 7 * DAY
    abandon_after: float = 14 * DAY


@dataclass(frozen=True)
class IncidentTimes:
    """Seconds from the opening of the case; absolute targets, a late step does not move the next."""

    remind_after: tuple[float, ...] = (DAY, 3 * DAY)
    staff_after: float = 7 * DAY
    close_after: float = 14 * DAY
    regenerate_on_silence: bool = False


@dataclass(frozen=True)
class IncidentCase:
    """Input of `KeyIncidentWorkflow`."""

    incident_id: str
    times: IncidentTimes = field(default_factory=IncidentTimes)


@dataclass(frozen=True)
class RegenerationCase:
    """Input of `KeyRegenerationWorkflow`."""

    regeneration_id: str
    leaked: bool = False
    times: RegenerationTimes = field(default_factory=RegenerationTimes)


class Choice(StrEnum):
    """What can be decided about a case."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


@dataclass(frozen=True)
class CustomerAnswer:
    """Signal: the customer's answer as SQL already holds it."""

    choice: Choice
    leaked: bool = False


@dataclass(frozen=True)
class StaffDecision:
    """Update or signal of support staff.

    `decision` is text, not a `Choice`, so that a mistyped one from the Web UI reaches `fault` and is answered visibly
    instead of being dropped by the converter. `decision_id` makes a repeat harmless.
    """

    decision: str
    actor: str
    reason: str
    leaked: bool = False
    decision_id: str = ""

    def fault(self) -> str | None:
        """Return why this can't be taken, or None. Keeps addresses and secrets out of the history."""
        if self.decision not in list(Choice):
            return f"decision must be one of {', '.join(Choice)}, not {self.decision[:40]!r}"
        if not isinstance(self.actor, str) or not _ACTOR.fullmatch(self.actor):
            return "actor must be a staff id: letters, digits, '.', '_' or '-', at most 64"
        if not isinstance(self.reason, str) or not self.reason.strip():
            return "a reason is needed: it is what the next colleague reads"
        if len(self.reason) > _REASON_LIMIT:
            return f"the reason is longer than {_REASON_LIMIT} characters"
        if "@" in self.reason or _SECRET_KEY.search(self.reason):
            return "the reason must hold no mail address and no secret key: it is kept in the history"
        return None


@dataclass(frozen=True)
class Growth:
    """Signal: the streak went on to `failures`."""

    failures: int


@dataclass(frozen=True)
class RegenerationEnd:
    """Signal to the cases that wait for a regeneration: it ended as done, superseded or abandoned."""

    state: str


@dataclass(frozen=True)
class IncidentStatus:
    """Answer of the query `status`."""

    state: str
    choice: str | None
    decided_by: str | None


class MailKind(StrEnum):
    """The mails that workflows ask for; each is a folder of templates."""

    ALERT = "alert"
    REMINDER = "reminder"
    NEW_KEYS = "new_keys"
    KEYS_RETIRED = "keys_retired"


@dataclass(frozen=True)
class MailOrder:
    """Ask for one mail. `subject_id` is an incident's id, or a regeneration's for key mails.

    The key of the mail is `subject_id/kind/number`: the same order twice is one mail.
    """

    subject_id: str
    kind: MailKind
    number: int
    at: float


@dataclass(frozen=True)
class MailReport:
    """What became of it: `sent`, `skipped` (withheld by the daily cap) or `failed` (refused for good); `why`."""

    state: str
    why: str = ""


@dataclass(frozen=True)
class IncidentNote:
    """Ask to write the state and one event into the case's timeline. `key` is unique within the case."""

    incident_id: str
    key: str
    what: str
    at: float
    actor: str = "system"
    state: str | None = None
    detail: dict[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class DecisionOrder:
    """Ask to take a staff decision in SQL, where the customer may have answered first."""

    incident_id: str
    decision: StaffDecision
    at: float


@dataclass(frozen=True)
class DecisionReport:
    """Whether the decision stands; else whose earlier answer stands."""

    accepted: bool
    standing_choice: Choice
    standing_leaked: bool
    answered_by: str


@dataclass(frozen=True)
class RegenerationOrder:
    """Ask for the regeneration of a case's pair; the same order twice is one row."""

    incident_id: str
    leaked: bool
    at: float


@dataclass(frozen=True)
class Step:
    """Ask for one step of a regeneration at workflow time `at`."""

    regeneration_id: str
    at: float


@dataclass(frozen=True)
class CloseOrder:
    """Ask to close the case: `resolution` is regenerated, false_alarm or unanswered."""

    incident_id: str
    resolution: str
    at: float


@dataclass(frozen=True)
class FinishOrder:
    """Ask to finish a regeneration: `state` is done or abandoned."""

    regeneration_id: str
    state: str
    at: float
