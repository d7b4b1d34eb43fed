"""The result of one check of `octy doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    PROBLEM = "problem"
    UNCHECKED = "unchecked"  # another problem prevents the check


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and what to do about it.

    `to_do` is empty without a problem, or when `found` says it already. `code`: the problem's, empty without one.
    """

    name: str
    state: State
    found: str
    to_do: str = ""
    code: str = ""


def passed(name: str, found: str) -> Check:
    """Return a check without a problem."""
    return Check(name, State.OK, found)


def unchecked(name: str, why: str) -> Check:
    """Return a check that could not be made; `why`: what prevents it."""
    return Check(name, State.UNCHECKED, f"not checked: {why}")
