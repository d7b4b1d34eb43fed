"""PURE. What support staff decides, and what of it can be taken.

Here: the decision as a value, its faults in words, and reading it from JSON that a person typed. Not here: whether it
comes too late (`question`), how it arrives (`hearing`).
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum

STAFF_DECISION = "staff_decision"
"""The signal by which support staff decide from Temporal's Web UI; its content is a `StaffDecision`."""

_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_STAFF = ("system", "customer")  # the timeline's other actors
_REASON_LIMIT = 300
_SECRET_KEY = re.compile(r"sk_[0-9A-Za-z]")


class Choice(StrEnum):
    """What can be decided about a case."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


@dataclass(frozen=True)
class StaffDecision:
    """Update or signal of support staff.

    `decision` is text, not a `Choice`, so that a mistyped one reaches `fault` and is answered with a reason.
    `decision_id` makes a repeat harmless.
    """

    decision: str
    actor: str
    reason: str
    leaked: bool = False
    decision_id: str = ""

    def fault(self) -> str | None:
        """Return why this can't be taken, or None. Keeps addresses and secrets out of the history.

        The text repeats nothing of what was typed: it is noted in the timeline.
        """
        if self.decision not in list(Choice):
            return f"decision must be one of: {', '.join(Choice)}"
        if not _ACTOR.fullmatch(self.actor) or self.actor in _NOT_STAFF:
            return "actor must be a staff id: letters, digits, '.', '_' or '-', at most 64"
        if self.decision_id and not _ACTOR.fullmatch(self.decision_id):
            return "decision_id must be letters, digits, '.', '_' or '-', at most 64"
        if self.leaked and self.decision == Choice.DISMISS:
            return "a case whose secret leaked can't be dismissed"
        return self._fault_of_reason()

    def _fault_of_reason(self) -> str | None:
        if not self.reason.strip():
            return "a reason is needed: it is what the next colleague reads"
        if len(self.reason) > _REASON_LIMIT or not self.reason.isprintable():
            return f"the reason must be one line of at most {_REASON_LIMIT} printable characters"
        if "@" in self.reason or _SECRET_KEY.search(self.reason):
            return "the reason must hold no mail address and no secret key: it is kept in the history"
        return None


def read_decision(said: object) -> StaffDecision | str:
    """Return the decision in a decoded JSON value, or why there is none. Never raises.

    An unknown field is refused, not ignored: a mistyped `leaked` must not leave a leaked pair alive.
    """
    known = {part.name: bool if part.name == "leaked" else str for part in fields(StaffDecision)}
    if not isinstance(said, dict):
        return "a decision is a JSON object with decision, actor and reason"
    if not said.keys() <= known.keys():
        return f"a decision has no other fields than {', '.join(known)}"
    for name, kind in known.items():
        if name not in said and name in ("decision", "actor", "reason"):
            return f"{name} is missing"
        if name in said and not isinstance(said[name], kind):
            return f"{name} must be {'true or false' if kind is bool else 'text'}"
    decision = StaffDecision(**said)
    return decision.fault() or decision
