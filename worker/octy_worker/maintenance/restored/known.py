"""PURE. What the history of one workflow says of its regeneration or incident.

Only inputs and results of activities count, which come from the database. Signals prove nothing: anybody with access
to Temporal can send one. Anyone who has it can also run a workflow of their own under one of our ids, so what says
something that no worker says raises `UnprovenError`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from octy_workflows.messages import (
    COLLECTED,
    FINAL_REGENERATION_STATES,
    IncidentFacts,
    RegenerationFacts,
    RegenerationFinalState,
    RegenerationInput,
    Resolution,
)
from octy_workflows.order_content import Choice

_LATEST = 2.0**34  # Unix seconds, in the year 2514


class UnprovenError(Exception):
    """What a workflow says is not proven to come from the database; the text says why. It is listed, not applied."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an activity, and when it was completed, in Unix seconds."""

    activity: str
    value: Any
    at: float


@dataclass(frozen=True, slots=True)
class KnownRegeneration:
    """What Temporal knows of a regeneration.

    `ending`: a `RegenerationFinalState`, or empty while its workflow runs. `collected_at`: when the collection was
    first known; None without one. `overlap_end`: the end of the old pair as it was set.
    """

    id: str
    account_id: str
    old_pair_id: str
    leaked: bool
    running: bool
    ending: str
    collected_at: float | None
    overlap_end: float | None

    @property
    def is_in_vain(self) -> bool:
        """Whether it ended, and the customer got no keys."""
        return self.ending in (RegenerationFinalState.ABANDONED, RegenerationFinalState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class KnownIncident:
    """What Temporal knows of an incident. `resolution` is empty while its workflow runs; `choice`: the last answer."""

    id: str
    running: bool
    resolution: str
    choice: Choice | None
    leaked: bool
    by: str
    regeneration_id: str


def regeneration_of(
    case: RegenerationInput, results: Iterable[Result], *, running: bool, ending: str, closed_at: float
) -> KnownRegeneration:
    """Return what a workflow's input, results and end say. `closed_at` is not used while it runs."""
    if not running and ending not in FINAL_REGENERATION_STATES:
        raise UnprovenError("its result is none of a regeneration")
    collected_at, overlap_end = closed_at if ending == RegenerationFinalState.DONE else None, None
    for result in results:
        if _shows_collection(result):
            collected_at = result.at if collected_at is None else min(collected_at, result.at)
        if result.activity == "begin_overlap" and result.value is not None:
            overlap_end = _as_time(result.value)
    return KnownRegeneration(
        case.regeneration_id,
        case.account_id,
        case.old_pair_id,
        case.leaked,
        running,
        ending,
        collected_at,
        overlap_end,
    )


def _as_time(value: object) -> float:
    if not isinstance(value, float | int) or not 0 < value < _LATEST:
        raise UnprovenError("the end of its old pair is no time")
    return float(value)


def _shows_collection(result: Result) -> bool:
    match result.activity, result.value:
        case "load_regeneration_facts", RegenerationFacts(collected=collected):
            return collected
        case "begin_overlap", end:
            return end is not None
        case "finish_regeneration", state:
            return state in (COLLECTED, RegenerationFinalState.DONE)
    return False


def incident_of(incident_id: str, results: Iterable[Result], *, running: bool, resolution: str) -> KnownIncident:
    """Return what a workflow's results and end say; the last look at the database counts."""
    if not running and resolution not in set(Resolution):
        raise UnprovenError("its result is none of an incident")
    last, regeneration_id = None, ""
    for result in results:
        if result.activity == "load_incident_facts" and isinstance(result.value, IncidentFacts):
            last = result.value
            regeneration_id = last.regeneration_id or regeneration_id
        elif result.activity == "open_regeneration":
            regeneration_id = str(result.value or regeneration_id)
    return KnownIncident(
        incident_id,
        running,
        resolution,
        None if last is None else last.choice,
        last is not None and last.leaked,
        "" if last is None else last.answered_by,
        regeneration_id,
    )
