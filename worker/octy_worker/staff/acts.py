"""Everything that staff can order: actions, fields, outputs. An order's subject is the id that the act is about."""

from dataclasses import dataclass
from typing import Any

from octy_worker.access.roles import Action
from octy_worker.staff.operations import Act


@dataclass(frozen=True, slots=True)
class Decision:
    """Fields of `incident.decide`. `decision`: a `Choice`."""

    decision: str
    leaked: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Output of an act that returns nothing else."""

    order_id: str


DECIDE = Act(Action.DECIDE, Decision, Done, "octy_worker.staff.decisions:decide")
"""Subject: the incident's id."""

ACTS: dict[Action, Act[Any, Any]] = {act.action: act for act in (DECIDE,)}
"""All acts by action."""
